/** Texts that several commands' help shows. */

/** Kinds of ports, for people. The enumerators say the same when a name is nobody's. */
export const PORT_NAMES_HELP = `
Port names:
  null:NAME[,size=BYTES]     endless frames; frees what it is sent
  loop:NAME[,ring=N]         receives what it sends
  pair:NAME/0, pair:NAME/1   the two ends of a link: each receives what the
                             other sends [,ring=N]
  pcap:IN[,out=OUT]          replays a pcap or pcapng file, records to another
                             [,loops=N] (0: for ever)
                             [,timing=topspeed|original]
  pcap:out=OUT               only records
  xdp:INTERFACE              a network interface, by AF_XDP [,queue=N]
                             [,mode=native|skb][,zero-copy=0|1][,busy-poll=1]
                             [,match=udp/53+…][,closed=1][,force=1]
                             [,checksum=fill|keep]
                             [,grant=PATH]: by linecard grant, without root
  virtio-user:PATH           a vhost-user socket, as the driver's end
                             [,server=1][,queues=N][,packed=1][,mac=…]
                             [,mtu=N][,wait=SECONDS][,mergeable=0]
  vhost-user:PATH            the same, as the device's end: for virtual
                             machines [,client=1][,queues=N][,mac=…][,mtu=N]
                             [,memory=GIB][,uid=N][,packed=0][,mergeable=0]
  pci:[DDDD:]BB:DD.F         a card that linecard bind has given to user space
                             [,queues=N][,packed=1][,mergeable=0]…; without an
                             IOMMU [,unsafe-dma=1] and --hugepages need
`;

/** What the exit code says. */
export const EXIT_CODES_HELP = `
Exit codes:
  0    everything went well, and every packet is accounted for
  1    an error, a port that failed, packets that were changed on the way, or
       books that do not balance
  2    the command line is wrong
  130  ended at once by a second Ctrl-C

Environment:
  NO_COLOR=1               no colours
  LINECARD_DEBUG=stack     errors with their stacks
  LINECARD_DEBUG=frames    find frames that are freed or sent twice
`;
