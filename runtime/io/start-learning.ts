import { join } from 'node:path';
import type { AdaptationReport } from '../contracts/adaptation.ts';
import { gatewayTopics } from '../contracts/topics.ts';
import type { DecisionLoop } from '../decision-loop.ts';
import { Learning } from './adapt-service.ts';
import type { GatewayConfiguration } from './configuration.ts';
import { gatewayKey } from './gateway-key.ts';

export interface LearningEvents {
  /** A message that must arrive. */
  tell(topic: string, payload: Uint8Array): void;
  onReport(report: AdaptationReport): void;
  onTrouble(error: Error, stream?: string): void;
}

/** Learning from labels on this gateway, where the configuration wants it. A disk that is full or read-only costs what could be learned, not the decisions. */
export async function startLearning(
  configuration: GatewayConfiguration,
  programs: URL,
  loop: DecisionLoop,
  { tell, onReport, onTrouble }: LearningEvents,
): Promise<Learning | undefined> {
  const { site, gateway, engine, stateFolder, learn: settings } = configuration;
  if (!settings.enabled) return undefined;
  const key = await gatewayKey(join(stateFolder, 'gateway.key')).catch((error: Error) => {
    onTrouble(error);
    return undefined;
  });
  if (!key) return undefined;
  const topics = gatewayTopics(site, gateway);
  return new Learning(
    { site, gateway, folder: join(stateFolder, 'learned'), key, engine, programs, settings },
    {
      get manifest() {
        return loop.manifest;
      },
      get memory() {
        return loop.memory;
      },
      bundle: () => ({ digest: loop.status().bundle!.digest, folder: loop.bundleFolder }),
      adapterOf: (stream) => loop.adapterFile(stream),
      setAdapter: (stream, bytes) => loop.setAdapter(stream, bytes),
    },
    {
      onReceipt: (receipt) => tell(topics.labelled(receipt.stream), Buffer.from(JSON.stringify(receipt))),
      onReport: (report) => {
        onReport(report);
        tell(topics.adaptation(report.stream), Buffer.from(JSON.stringify(report)));
      },
      onAdapter: (stream, file) => tell(topics.adapter(stream), file),
      onTrouble,
    },
  );
}
