import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { gatewayTopics, siteTopics } from '../../../runtime/contracts/topics.ts';
import { connectBroker } from '../../../runtime/io/broker-client.ts';
import { Refusal } from '../../refusal.ts';

const messageSchema = z.strictObject({
  /** Since the recorder began, milliseconds. */
  ms: z.number().nonnegative(),
  topic: z.string(),
  /** The payload; as `base64` where it is no JSON. */
  text: z.string().optional(),
  base64: z.string().optional(),
});
/** A message that went over the broker. */
export type Message = z.infer<typeof messageSchema>;

/** Takes down what a site's gateway and its operators say, as any subscriber could; not the samples and the chunks of updates, which are most of the bytes. */
export class TrafficRecorder {
  readonly messages: Message[] = [];
  readonly #client: ReturnType<typeof connectBroker>;
  readonly #file: WriteStream;

  private constructor(url: string, path: string) {
    this.#client = connectBroker(url, () => {});
    this.#file = createWriteStream(path);
  }

  /** @param path of the file that every message becomes a line of */
  static async start(url: string, path: string, site: string, gateway: string): Promise<TrafficRecorder> {
    const recorder = new TrafficRecorder(url, path);
    const began = performance.now();
    const topics = gatewayTopics(site, gateway);
    recorder.#client.on('message', (topic, payload) => {
      const ms = Math.round(performance.now() - began);
      const binary = topic.startsWith(topics.adapter('')) || topic === siteTopics(site).timestamp;
      const message: Message = { ms, topic, ...(binary ? { base64: payload.toString('base64') } : { text: payload.toString() }) };
      recorder.messages.push(message);
      recorder.#file.write(`${JSON.stringify(message)}\n`);
    });
    const { allDiagnoses, allAlarms, allDrift, allLabels, allLabelled, allAdaptations, allAdapters, status, updateState } = topics;
    const told = [allDiagnoses, allAlarms, allDrift, allLabels, allLabelled, allAdaptations, allAdapters, status, updateState];
    await recorder.#client.subscribeAsync([...told, siteTopics(site).timestamp], { qos: 1 });
    return recorder;
  }

  async stop(): Promise<void> {
    await this.#client.endAsync();
    this.#file.end();
    await once(this.#file, 'close');
  }
}

/** @throws Refusal demo/traffic */
export async function readTraffic(path: string): Promise<Message[]> {
  try {
    const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
    return lines.map((line) => messageSchema.parse(JSON.parse(line)));
  } catch (cause) {
    throw new Refusal('demo/traffic', `${path} holds no recorded traffic; name a folder of tremolo demo --keep`, { cause });
  }
}
