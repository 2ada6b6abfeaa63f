import { encodeFrame, encodeSerialFrame, type SampleFrame } from '../../firmware-bridge/codec/index.ts';
import { openPty } from '../../firmware-bridge/serial/pty.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { startEmbeddedBroker } from '../io/broker.ts';
import { startGatewayProcess } from '../io/gateway-process.ts';

export const SITE = 'demo';
export const GATEWAY = 'gateway-1';
const PORT = 'press';

export interface DemoParts {
  /** Of the broker, for whoever wants to watch or speak. */
  readonly url: string;
  /** What the gateway calls each sensor's stream, and by which way its frames go. */
  readonly streams: readonly { readonly stream: string; readonly link: 'mqtt' | 'serial' }[];
  /** Sends a frame of a sensor, which may be used again afterwards. */
  send(sensor: number, frame: SampleFrame): Promise<void>;
  /** The gateway's last words where it has ended. */
  ended(): string | undefined;
  stop(): Promise<void>;
}

/**
 * Starts a broker, a gateway in a process of its own, and the ways of the sensors' frames: MQTT, and for the last of several a pty as a serial port.
 *
 * @param more further settings of the gateway
 */
export async function startParts(
  names: readonly string[],
  bundleFolder: string,
  engine: 'onnxruntime' | 'wasm',
  programs: URL,
  more: Readonly<Record<string, unknown>> = {},
): Promise<DemoParts> {
  const closers: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const close of closers.splice(0)) await close();
  };
  try {
    const broker = await startEmbeddedBroker();
    closers.unshift(() => broker.close());
    const pty = names.length > 1 ? await openPty() : undefined;
    if (pty) closers.unshift(() => pty.close());
    const serial = pty ? [{ name: PORT, path: pty.path, baudRate: 921_600 }] : [];
    const gateway = await startGatewayProcess(
      { site: SITE, gateway: GATEWAY, bundle: bundleFolder, broker: { url: broker.url }, serial, engine, ...more },
      programs,
    );
    closers.unshift(() => gateway.stop());
    const client = connectBroker(broker.url, () => {});
    closers.unshift(() => client.endAsync());
    const topics = gatewayTopics(SITE, GATEWAY);
    const last = names.length - 1;
    const streams = names.map((name, index) =>
      pty && index === last ? ({ stream: `${PORT}-${index}`, link: 'serial' } as const) : ({ stream: name, link: 'mqtt' } as const),
    );
    return {
      url: broker.url,
      streams,
      async send(sensor, frame) {
        if (pty && sensor === last) await pty.write(encodeSerialFrame(frame));
        else client.publish(topics.samples(streams[sensor].stream), Buffer.from(encodeFrame(frame)), { qos: 0 });
      },
      ended: () => (gateway.process.exitCode === null ? undefined : gateway.log().trim().split('\n').at(-1)),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
