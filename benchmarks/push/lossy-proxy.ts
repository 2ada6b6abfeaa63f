import { connect, createServer, type Socket } from 'node:net';

export interface LossyLink {
  /** Share of the PUBLISH packets about updates that is lost, each way. */
  readonly loss: number;
  readonly delayMs: number;
  /** The connection is cut after so many update packets on average; never where absent. */
  readonly cutEvery?: number;
  /** The connection is cut once, after so many of them. */
  readonly cutAfter?: number;
  readonly seed: number;
}

export interface LossyProxy {
  readonly url: string;
  /** Bytes of PUBLISH packets about updates that were sent into the link, what was lost of them included. */
  bytesOnWire(): number;
  readonly counts: { passed: number; lost: number; cuts: number };
  close(): Promise<void>;
}

const PUBLISH = 3;

/** Cuts a stream of bytes into MQTT packets. */
class PacketSplitter {
  #rest = Buffer.alloc(0);

  push(bytes: Buffer): Buffer[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const packets: Buffer[] = [];
    for (;;) {
      const length = packetLength(this.#rest);
      if (length === undefined || length > this.#rest.length) return packets;
      packets.push(this.#rest.subarray(0, length));
      this.#rest = this.#rest.subarray(length);
    }
  }
}

/** Whole length of the packet that begins here, by its variable byte integer; undefined where too few bytes are there. */
function packetLength(bytes: Buffer): number | undefined {
  let length = 0;
  for (let at = 1; at <= 4 && at < bytes.length; at++) {
    length += (bytes[at] & 0x7f) << (7 * (at - 1));
    if (bytes[at] < 0x80) return 1 + at + length;
  }
  return undefined;
}

function isUpdate(packet: Buffer): boolean {
  if (packet[0] >> 4 !== PUBLISH) return false;
  let at = 1;
  while (packet[at] >= 0x80) at++;
  const topic = packet.subarray(at + 3, at + 3 + packet.readUInt16BE(at + 1)).toString();
  return topic.includes('/update/');
}

/** A link to a broker that loses what is about updates, delays everything, and breaks. It keeps the order, as TCP does. */
export async function startLossyProxy(port: number, link: LossyLink): Promise<LossyProxy> {
  const sockets = new Set<Socket>();
  const counts = { passed: 0, lost: 0, cuts: 0 };
  let bytes = 0;
  let state = link.seed;
  const chance = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const pass = (from: Socket, to: Socket, end: () => void) => {
    const splitter = new PacketSplitter();
    from.on('data', (data: Buffer) => {
      for (const packet of splitter.push(data)) {
        if (isUpdate(packet)) {
          bytes += packet.length;
          const isLast = counts.cuts === 0 && counts.passed + counts.lost === link.cutAfter;
          if (isLast || (link.cutEvery !== undefined && chance() < 1 / link.cutEvery)) {
            counts.cuts++;
            end();
            return;
          }
          if (chance() < link.loss) {
            counts.lost++;
            continue;
          }
          counts.passed++;
        }
        setTimeout(() => to.writable && to.write(packet), link.delayMs);
      }
    });
  };
  const server = createServer((client) => {
    const broker = connect(port, '127.0.0.1');
    const end = () => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', end);
      socket.on('close', () => {
        sockets.delete(socket);
        end();
      });
    }
    pass(client, broker, end);
    pass(broker, client, end);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`,
    bytesOnWire: () => bytes,
    counts,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
