/** What a device that has just been started is told: how to spread packets, and which ones to let through. Control half. */
import type { DeviceError } from '../../errors.ts';
import type { PortConfig } from '../../pktio/types.ts';
import { hasFeature } from '../../virtio/features.ts';
import type { Introduced } from './bring-up.ts';
import { allMulticast, type Command, macTable, promiscuous, rssConfig, setAddress, setPairs } from './commands.ts';
import type { Control } from './control.ts';

/** What there is to tell. */
export interface Instructions {
  readonly config: PortConfig;
  /** Pairs in use. */
  readonly pairs: number;
  readonly introduced: Introduced;
  readonly rss: Introduced['config']['rss'];
}

/** Tells `control`. `refused` hears of a filter that the device does not take. Throws what `Control.send` throws otherwise. */
export async function instruct(control: Control, told: Instructions, refused: (error: Error) => void): Promise<void> {
  const { rxQueues } = told.config;
  const { rss, pairs, introduced } = told;
  const scaled = rss !== undefined && rss.table > 0 && rxQueues > 1;
  if (scaled) await control.send(rssConfig(rxQueues, pairs, rss));
  else if (hasFeature(introduced.features, 'MQ')) await control.send(setPairs(pairs));
  for (const filter of filters(told)) {
    await control.send(filter).catch((error: DeviceError) => {
      if (error.code !== 'COMMAND_REFUSED') throw error;
      refused(error);
    });
  }
}

function filters({ config: { mac, promiscuous: all }, introduced: { config, features } }: Instructions): Command[] {
  const has = (name: Parameters<typeof hasFeature>[1]) => hasFeature(features, name);
  const differs = mac !== config.mac;
  return [
    ...(has('CTRL_RX') ? [promiscuous(all), allMulticast(true)] : []),
    ...(differs && has('CTRL_MAC_ADDR') ? [setAddress(mac)] : []),
    ...(differs && !has('CTRL_MAC_ADDR') && has('CTRL_RX') ? [macTable([mac], [])] : []),
  ];
}
