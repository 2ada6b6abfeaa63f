import { FrameReader } from '../../firmware-bridge/codec/index.ts';
import { openSerial, type SerialLink, type SerialState, type SerialStateDetail } from '../../firmware-bridge/serial/serial.ts';
import type { PortHealth } from '../contracts/health.ts';
import { ForeignStream } from '../sources/index.ts';
import { type GatewayConfiguration, isForeignTopic, serialOptionsOf } from './configuration.ts';
import { freshEpoch, type OnStreamFrame } from './message-sources.ts';

/** How a port's bytes are read. */
interface Reader {
  push(bytes: Uint8Array): void;
  /** The port was opened: what comes does not continue what came. */
  opened(): void;
  counters(): Record<string, number>;
}

interface Port {
  readonly health: Omit<PortHealth, 'counters'>;
  readonly reader: Reader;
  readonly link: SerialLink;
}

function framesReader(name: string, onFrame: OnStreamFrame): Reader {
  const reader = new FrameReader((frame) => {
    if (frame.kind === 'samples') onFrame(`${name}-${frame.streamId}`, frame);
  });
  return { push: (bytes) => reader.push(bytes), opened: () => reader.reset(), counters: () => ({ ...reader.health }) };
}

function foreignReader(name: string, format: ConstructorParameters<typeof ForeignStream>[0], onFrame: OnStreamFrame): Reader {
  const stream = new ForeignStream(format, (frame) => onFrame(name, frame), 0, freshEpoch());
  return {
    push: (bytes) => stream.push(bytes, performance.now() * 1000),
    opened: () => stream.interrupted(),
    counters: () => ({ ...stream.health, clippedValues: stream.clippedValues }),
  };
}

/** All serial ports of a gateway, those that speak frames and the foreign ones. */
export class SerialSources {
  readonly #ports = new Map<string, Port>();

  /** @param onState told of each change of a port */
  constructor(
    { serial, foreign }: Pick<GatewayConfiguration, 'serial' | 'foreign'>,
    onFrame: OnStreamFrame,
    onState: (port: string, state: SerialState, detail: SerialStateDetail) => void,
  ) {
    const open = (name: string, line: Parameters<typeof serialOptionsOf>[0], reader: Reader) => {
      const health: Port['health'] = { state: 'retrying', opened: 0, lost: 0 };
      const link = openSerial(
        serialOptionsOf(line),
        (bytes) => reader.push(bytes),
        (state, detail) => {
          if (state === 'open') {
            health.opened++;
            reader.opened();
          } else if (health.state === 'open' && state === 'retrying') health.lost++;
          health.state = state;
          health.path = detail.path;
          if (detail.error) health.lastError = detail.error.message;
          onState(name, state, detail);
        },
      );
      this.#ports.set(name, { health, reader, link });
    };
    for (const port of serial) open(port.name, port, framesReader(port.name, onFrame));
    for (const source of foreign)
      if (!isForeignTopic(source)) open(source.stream, source, foreignReader(source.stream, source.format, onFrame));
  }

  health(): Record<string, PortHealth> {
    return Object.fromEntries([...this.#ports].map(([name, { health, reader }]) => [name, { ...health, counters: reader.counters() }]));
  }

  /** What noise on the lines cost, by cause, over all ports. */
  damage(): Record<string, number> {
    const sum: Record<string, number> = {};
    for (const { reader } of this.#ports.values()) {
      const counters = reader.counters();
      for (const cause of DAMAGE) if (counters[cause]) sum[`serial.${cause}`] = (sum[`serial.${cause}`] ?? 0) + counters[cause];
    }
    return sum;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#ports.values()].map(({ link }) => link.close()));
  }
}

const DAMAGE = ['cobsErrors', 'crcErrors', 'tooShort', 'tooLong', 'badVersion', 'badType', 'badLength', 'badField'];
