import * as z from 'zod';
import { parsePayload } from '../../runtime/contracts/payload.ts';
import { gatewayOfTopic } from '../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../runtime/contracts/update.ts';
import type { Sighting } from './rollout.ts';
import type { KnownGateway } from './selector.ts';

/** Nobody says more of himself. */
const LARGEST_MESSAGE_BYTES = 1 << 20;

/** Gateways that are known at once: topics are names that anybody with access to the broker may invent. */
const MOST_GATEWAYS = 65_536;

/** Of a status, what is needed here: gateways of another version may say more. */
const seenStatusSchema = z.object({
  state: z.enum(['online', 'offline']),
  version: z.string(),
  bundle: z.object({ name: z.string(), digest: z.string() }).optional(),
  engine: z.object({ name: z.string() }).optional(),
});
type SeenStatus = z.infer<typeof seenStatusSchema>;

/** What gateways say of themselves, by `SITE/GATEWAY`. The name is that of the topic, which a broker's access list guards; what the payload calls itself counts for nothing. */
export class GatewayWatch {
  /** Messages that were not what their topic promises. */
  invalid = 0;
  readonly #statuses = new Map<string, SeenStatus>();
  readonly #states = new Map<string, UpdateState>();

  /** @returns whether this may change what is known */
  onMessage(topic: string, payload: Uint8Array): boolean {
    const [, , site, , kind, last] = topic.split('/');
    const name = `${site}/${gatewayOfTopic(topic)}`;
    if (kind === 'status' && last === undefined) return this.#take(this.#statuses, seenStatusSchema, name, payload);
    if (kind === 'update' && last === 'state') return this.#take(this.#states, updateStateSchema, name, payload);
    return false;
  }

  sighting(name: string): Sighting {
    return { state: this.#states.get(name), online: this.#statuses.get(name)?.state === 'online' };
  }

  /** Whether it has said so, or its last will. */
  isOffline(name: string): boolean {
    return this.#statuses.get(name)?.state === 'offline';
  }

  /** Gateways of a site that are connected and take updates. */
  present(site: string): string[] {
    return [...this.#states.keys()].filter((name) => name.startsWith(`${site}/`) && this.#statuses.get(name)?.state === 'online');
  }

  gateways(): KnownGateway[] {
    return [...new Set([...this.#statuses.keys(), ...this.#states.keys()])].sort().map((name) => {
      const status = this.#statuses.get(name);
      return { name, version: status?.version, bundle: status?.bundle, engine: status?.engine?.name, state: status?.state };
    });
  }

  #take<T>(known: Map<string, T>, schema: z.ZodType<T>, name: string, payload: Uint8Array): boolean {
    // An empty retained message: somebody has cleared the topic.
    if (payload.length === 0) return known.delete(name);
    const before = known.get(name);
    const isTooMuch = payload.length > LARGEST_MESSAGE_BYTES || (!before && known.size >= MOST_GATEWAYS);
    const value = isTooMuch ? undefined : parsePayload(payload, schema);
    if (value === undefined) {
      this.invalid++;
      return false;
    }
    known.set(name, value);
    return JSON.stringify(before) !== JSON.stringify(value);
  }
}
