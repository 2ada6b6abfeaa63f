import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { AwsClient } from 'aws4fetch';
import { Refusal } from '../refusal.ts';
import { pause } from './pause.ts';

/** An answer that takes longer comes no more, milliseconds. */
const LONGEST_ANSWER_MS = 60_000;
/** Waits of who is patient, milliseconds: doubled from the first to the longest. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;

/** What a network says while the store, its name or the way to it is not there yet, or no more; a name that is never there is said at the start. */
const AWAY_CODES = new Set([
  ...['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN', 'ENOTFOUND'],
  ...['ENETDOWN', 'ENETUNREACH', 'EHOSTDOWN', 'EHOSTUNREACH'],
  ...[
    'UND_ERR_CONNECT_TIMEOUT',
    'UND_ERR_HEADERS_TIMEOUT',
    'UND_ERR_BODY_TIMEOUT',
    'UND_ERR_SOCKET',
    'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  ],
]);
/** Answers that are another a little later: Amazon S3 API Reference, "Error responses". */
const AWAY_STATUSES = new Set([408, 409, 429]);
const AWAY_WORDS = new Set(['RequestTimeout', 'RequestTimeTooSkewed', 'ExpiredToken']);
const NOT_IMPLEMENTED = 501;

/** Where in an S3-compatible store. */
export interface ObjectPlace {
  /** http or https, without a path: a bucket is named behind it. */
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  /** Before all names: empty, or ends with a slash. */
  readonly prefix: string;
  /** One line KEY:SECRET; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment go before. */
  readonly credentialsFile?: string;
}

/** The store does not answer, or not now: later it may. */
export class StoreAway extends Error {}

export interface Patience {
  /** Ends the waiting. */
  readonly signal: AbortSignal;
  /** Called before each wait. */
  readonly onAway: (error: StoreAway) => void;
}

/** @throws Refusal server/objects where there are none */
function credentialsOf({ credentialsFile }: ObjectPlace) {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
  const [key, secret, sessionToken] = [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN].map((text) => text?.trim());
  if (key && secret) return { accessKeyId: key, secretAccessKey: secret, ...(sessionToken && { sessionToken }) };
  const [, accessKeyId, secretAccessKey] = /^([^:\s]+):(\S+)\s*$/.exec(credentialsFile ? readFileSync(credentialsFile, 'utf8') : '') ?? [];
  if (accessKeyId === undefined)
    throw new Refusal(
      'server/objects',
      credentialsFile
        ? `${credentialsFile} is not one line KEY:SECRET; write it so`
        : 'objectStore has no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a credentialsFile',
    );
  return { accessKeyId, secretAccessKey };
}

/**
 * Named bytes in a bucket of an S3-compatible store: what Amazon's API calls GetObject, PutObject, ListObjectsV2 and DeleteObject, addressed by path. Each
 * request is signed with the SHA-256 of its body, so the store refuses a body that is not what was sent.
 *
 * All methods throw a Refusal server/objects where the store refuses, and StoreAway where it does not answer; with patience they wait for it instead.
 */
export class ObjectStore {
  readonly #place: ObjectPlace;
  readonly #client: AwsClient;
  readonly #patience: Patience | undefined;

  /** @throws Refusal server/objects without credentials */
  constructor(place: ObjectPlace, patience?: Patience) {
    this.#place = place;
    this.#client = new AwsClient({ ...credentialsOf(place), service: 's3', region: place.region, retries: 0 });
    this.#patience = patience;
  }

  /** For people. */
  get name(): string {
    return `bucket ${this.#place.bucket} of ${this.#place.endpoint}`;
  }

  /** @returns undefined where there is none of the name */
  async get(name: string): Promise<Uint8Array | undefined> {
    const { status, body } = await this.#request('GET', name);
    return status === 404 ? undefined : body;
  }

  async put(name: string, bytes: Uint8Array): Promise<void> {
    await this.#request('PUT', name, '', bytes);
  }

  /** @returns names that begin so, in order */
  async list(begin: string, most = Number.POSITIVE_INFINITY): Promise<string[]> {
    const { prefix } = this.#place;
    const found: string[] = [];
    while (found.length < most) {
      const last = found.at(-1);
      const query = new URLSearchParams({ 'list-type': '2', prefix: prefix + begin });
      if (last !== undefined) query.set('start-after', prefix + last);
      if (most < 1000) query.set('max-keys', String(most));
      const { body } = await this.#request('GET', undefined, `?${query}`);
      const text = new TextDecoder().decode(body);
      if (!text.includes('<ListBucketResult'))
        throw new Refusal('server/objects', `${this.name} does not answer as an S3-compatible store does; look at the endpoint`);
      // Names are digests and file names: nothing in them that XML would write otherwise.
      found.push(...Array.from(text.matchAll(/<Key>([^<]*)<\/Key>/g), ([, key]) => key.slice(prefix.length)));
      if (!text.includes('<IsTruncated>true') || found.at(-1) === last) break;
    }
    return found;
  }

  /** Also where there is none. */
  async remove(name: string): Promise<void> {
    await this.#request('DELETE', name);
  }

  async #request(method: string, name: string | undefined, query = '', body?: Uint8Array): Promise<{ status: number; body: Uint8Array }> {
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(LONGEST_WAIT_MS, 2 * waitMs)) {
      try {
        return await this.#once(method, name, query, body);
      } catch (error) {
        if (!(error instanceof StoreAway) || !this.#patience || this.#patience.signal.aborted) throw error;
        this.#patience.onAway(error);
        await pause(waitMs, this.#patience.signal);
      }
    }
  }

  async #once(method: string, name: string | undefined, query: string, body?: Uint8Array): Promise<{ status: number; body: Uint8Array }> {
    const { endpoint, bucket, prefix } = this.#place;
    const path = name === undefined ? '' : `/${prefix}${name}`;
    const url = `${endpoint.replace(/\/$/, '')}/${bucket}${path}${query}`;
    const hash = createHash('sha256')
      .update(body ?? '')
      .digest('hex');
    let status: number;
    let bytes: Uint8Array;
    try {
      const response = await this.#client.fetch(url, {
        method,
        ...(body && { body: body as Uint8Array<ArrayBuffer> }),
        headers: { 'x-amz-content-sha256': hash },
        signal: AbortSignal.any([AbortSignal.timeout(LONGEST_ANSWER_MS), ...(this.#patience ? [this.#patience.signal] : [])]),
      });
      status = response.status;
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw this.#failure(error as Error);
    }
    if (status < 300 || (status === 404 && name !== undefined && method !== 'PUT')) return { status, body: bytes };
    const code = /<Code>(\w+)<\/Code>/.exec(new TextDecoder().decode(bytes))?.[1] ?? status;
    const isAway = status >= 500 ? status !== NOT_IMPLEMENTED : AWAY_STATUSES.has(status) || AWAY_WORDS.has(String(code));
    if (isAway) throw new StoreAway(`${this.name} does not answer now (${code})`);
    const advice = status === 404 ? 'make the bucket, or name another' : 'look at the credentials and what they may do';
    throw new Refusal('server/objects', `${this.name} refuses ${method} (${code}); ${advice}`);
  }

  /** What is thrown where there was no answer. Without the error's own words: they may quote a header, and so the credentials. */
  #failure({ name, cause }: Error): StoreAway | Refusal {
    const code = (cause as NodeJS.ErrnoException | undefined)?.code;
    const isOver = name === 'TimeoutError' || this.#patience?.signal.aborted;
    if (isOver || (code !== undefined && AWAY_CODES.has(code))) return new StoreAway(`${this.name} cannot be reached (${code ?? name})`);
    return new Refusal(
      'server/objects',
      `${this.name} cannot be asked (${code ?? name}); look at the endpoint, its certificate, and the credentials for foreign characters`,
    );
  }
}
