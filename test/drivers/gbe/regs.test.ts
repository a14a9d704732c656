/** Tables of the gigabit controllers, against literals that were read from other transcriptions of the datasheets. */
import { describe, expect, test } from 'vitest';
import * as e1000e from '../../../lib/drivers/e1000e/regs.ts';
import * as gbe from '../../../lib/drivers/gbe/regs.ts';
import * as igb from '../../../lib/drivers/igb/regs.ts';

/** Offsets of a table; of a bank, those of the first and the last register. */
function offsets(table: object, last: number): Record<string, number | number[]> {
  return Object.fromEntries(
    Object.entries(table).map(([name, field]) => [name, typeof field === 'function' ? [field(0), field(last)] : field]),
  );
}

describe('The registers', () => {
  test('that both have in common are where the datasheets say', () => {
    expect(offsets(gbe.REG, 1)).toEqual({
      ...{ CTRL: 0x0, STATUS: 0x8, EECD: 0x10, CTRL_EXT: 0x18, MDIC: 0x20, FCAL: 0x28, FCAH: 0x2c, FCT: 0x30 },
      ...{ ICR: 0xc0, ICS: 0xc8, IMS: 0xd0, IMC: 0xd8, RCTL: 0x100, FCTTV: 0x170, TCTL: 0x400, TIPG: 0x410 },
      ...{ RXCSUM: 0x5000, RFCTL: 0x5008, MTA: [0x5200, 0x5204], RAL: [0x5400, 0x5408], RAH: [0x5404, 0x540c] },
      ...{ VFTA: [0x5600, 0x5604], WUC: 0x5800, MRQC: 0x5818, SWSM: 0x5b50, SW_FW_SYNC: 0x5b5c },
      ...{ RETA: [0x5c00, 0x5c04], RSSRK: [0x5c80, 0x5c84] },
    });
  });

  test('of the 82574 are where its datasheet says', () => {
    expect(offsets(e1000e.REG, 1)).toEqual({
      ...{ EIAC: 0xdc, IVAR: 0xe4, EITR: [0xe8, 0xec], EXTCNF_CTRL: 0xf00, RDTR: 0x2820, RADV: 0x282c },
      ...{ TIDV: 0x3820, TADV: 0x382c, TARC: [0x3840, 0x3940], GCR: 0x5b00, GCR2: 0x5b64 },
    });
    expect(offsets(e1000e.RX, 1)).toEqual({
      ...{ BAL: [0x2800, 0x2900], BAH: [0x2804, 0x2904], LEN: [0x2808, 0x2908] },
      ...{ HEAD: [0x2810, 0x2910], TAIL: [0x2818, 0x2918], DCTL: [0x2828, 0x2928] },
    });
    expect(offsets(e1000e.TX, 1)).toEqual({
      ...{ BAL: [0x3800, 0x3900], BAH: [0x3804, 0x3904], LEN: [0x3808, 0x3908] },
      ...{ HEAD: [0x3810, 0x3910], TAIL: [0x3818, 0x3918], DCTL: [0x3828, 0x3928] },
    });
  });

  test('of the 82576 are where its datasheet says', () => {
    expect(offsets(igb.REG, 7)).toEqual({
      ...{ GPIE: 0x1514, EIMS: 0x1524, EIMC: 0x1528, EIAC: 0x152c, EIAM: 0x1530, EICR: 0x1580 },
      ...{ EITR: [0x1680, 0x169c], IVAR: [0x1700, 0x171c], IVAR_MISC: 0x1740, EEMNGCTL: 0x1010 },
      ...{ RLPML: 0x5004, VT_CTL: 0x581c, VMOLR: [0x5ad0, 0x5aec], SRRCTL: [0xc00c, 0xc1cc] },
    });
    expect(offsets(igb.RX, 7)).toEqual({
      ...{ BAL: [0xc000, 0xc1c0], BAH: [0xc004, 0xc1c4], LEN: [0xc008, 0xc1c8] },
      ...{ HEAD: [0xc010, 0xc1d0], TAIL: [0xc018, 0xc1d8], DCTL: [0xc028, 0xc1e8] },
    });
    expect(offsets(igb.TX, 7)).toEqual({
      ...{ BAL: [0xe000, 0xe1c0], BAH: [0xe004, 0xe1c4], LEN: [0xe008, 0xe1c8] },
      ...{ HEAD: [0xe010, 0xe1d0], TAIL: [0xe018, 0xe1d8], DCTL: [0xe028, 0xe1e8] },
    });
  });

  test('of the statistics follow each other, with the holes that they have', () => {
    const names = (
      'CRCERRS ALGNERRC SYMERRS RXERRC MPC SCC ECOL MCC LATECOL - COLC - DC TNCRS SEC CEXTERR RLEC - XONRXC XONTXC ' +
      'XOFFRXC XOFFTXC FCRUC PRC64 PRC127 PRC255 PRC511 PRC1023 PRC1522 GPRC BPRC MPRC GPTC - GORCL GORCH GOTCL GOTCH - ' +
      '- RNBC RUC RFC ROC RJC MNGPRC MPDC MNGPTC TORL TORH TOTL TOTH TPR TPT PTC64 PTC127 PTC255 PTC511 PTC1023 PTC1522 ' +
      'MPTC BPTC TSCTC - IAC'
    ).split(' ');
    const expected = names.flatMap((name, i) => (name === '-' ? [] : [[name, 0x4000 + i * 4]]));
    expect(gbe.STATISTICS).toEqual(Object.fromEntries(expected));
  });

  test('have the bits that the datasheets say', () => {
    const hex = (table: Readonly<Record<string, number>>) =>
      Object.fromEntries(Object.entries(table).map(([name, value]) => [name, (value >>> 0).toString(16)]));
    expect(hex(gbe.CTRL)).toEqual({
      ...{ GIO_MASTER_DISABLE: '4', SLU: '40', FRCSPD: '800', FRCDPLX: '1000', RST: '4000000', RFCE: '8000000' },
      ...{ TFCE: '10000000', VME: '40000000' },
    });
    expect(hex(gbe.STATUS)).toEqual({ FD: '1', LU: '2', SPEED: 'c0', GIO_MASTER_ENABLE: '80000' });
    expect(hex(gbe.CTRL_EXT)).toEqual({ DRV_LOAD: '10000000', PBA_CLR: '80000000' });
    expect(hex(gbe.CAUSE)).toEqual({ LSC: '4', RXDMT0: '10', RXO: '40', RXT0: '80' });
    expect(hex(gbe.RCTL)).toEqual({
      ...{ EN: '2', UPE: '8', MPE: '10', LPE: '20', BSIZE_512: '20000', BSIZE_256: '30000', BAM: '8000' },
      ...{ SECRC: '4000000', FLXBUF: '1b' },
    });
    expect(hex(gbe.TCTL)).toEqual({ EN: '2', PSP: '8', CT: '4', COLD: 'c', RTLC: '1000000', MULR: '10000000' });
    expect([gbe.EECD_AUTO_RD, gbe.RXCSUM_PCSD, gbe.RFCTL_EXSTEN, gbe.RAH_AV]).toEqual([0x200, 0x2000, 0x8000, 2 ** 31]);
    expect(hex(gbe.TX_COMMAND)).toEqual({ EOP: '1000000', IFCS: '2000000', RS: '8000000', DEXT: '20000000' });
    expect(hex(gbe.TX_KIND)).toEqual({ legacy: '0', extended: '20100000', advanced: '20300000' });
    expect([gbe.RX_DESC.extended.errors >>> 0, gbe.RX_DESC.legacy.errors]).toEqual([0x9700_0000, 0x9700]);
    expect(hex(gbe.MRQC)).toEqual({
      ...{
        TCP_IPV4: '10000',
        IPV4: '20000',
        IPV6: '100000',
        TCP_IPV6: '200000',
        UDP_IPV4: '400000',
        UDP_IPV6: '800000',
      },
    });
    expect(hex(e1000e.CAUSE)).toEqual({ RXQ0: '100000', OTHER: '1000000' });
    expect(hex(e1000e.REQUIRED)).toEqual({
      ...{ TARC0_SET: '4000000', CTRL_EXT_SET: '400000', CTRL_EXT_CLEAR: '800000', CTRL_CLEAR: '20000000' },
      ...{ GCR_SET: '8400000', GCR2_SET: '1' },
    });
    expect(hex(igb.GPIE)).toEqual({ NSICR: '1', MULTIPLE_MSIX: '10', EIAME: '40000000', PBA_SUPPORT: '80000000' });
    expect(hex(igb.SRRCTL)).toEqual({ DESCTYPE_ADVANCED: '2000000', DROP_EN: '80000000' });
    expect(hex(igb.VMOLR)).toEqual({
      ...{ LPE: '10000', RSSE: '20000', AUPE: '1000000', BAM: '8000000', MPME: '10000000', STRCRC: '80000000' },
    });
  });
});
