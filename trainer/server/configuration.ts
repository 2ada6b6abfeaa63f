import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { isTopicName } from '../../runtime/contracts/topics.ts';
import { brokerSchema } from '../../runtime/io/configuration.ts';
import { fileSetting } from '../../runtime/io/secret-file.ts';
import { readYaml } from '../../runtime/io/yaml-file.ts';
import { Refusal } from '../refusal.ts';
import { parseDuration } from '../train/settings.ts';

const share = z.number().min(0).max(1);
const count = z.number().int().positive();
const duration = (fallback: string) =>
  z
    .string('must be a time such as 90s, 10m or 1h')
    .default(fallback)
    .transform((text, context) => {
      const seconds = parseDuration(text);
      if (seconds !== undefined) return 1000 * seconds;
      context.addIssue({ code: 'custom', message: 'write 90s, 10m or 1h' });
      return z.NEVER;
    });

function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, origin } = new URL(text);
  return /^https?:$/.test(protocol) && (text === origin || text === `${origin}/`);
}

/** Schema of server.yaml. @param folder that relative paths begin in */
function serverSchema(folder: string) {
  const path = z
    .string()
    .min(1)
    .transform((text) => resolve(folder, text));
  const there = (file: string) =>
    path.refine((whole) => existsSync(join(whole, file)), { error: ({ input }) => `${resolve(folder, String(input))} has no ${file}` });
  return z.strictObject({
    /** Unique among the servers of a broker: what comes while this one is away waits for it under its name. */
    name: z.string().refine(isTopicName, 'must be letters, digits, ".", "_" or "-", at most 64').default('server'),
    /** Made by tremolo keys init: its sites are the server's. Workers on other machines need none. */
    repository: path,
    broker: brokerSchema(folder),
    /** The books; DATABASE_URL in the environment goes before. */
    database: path.prefault('state/server.db'),
    /** Models that are made; workers on several machines share it, or `objectStore`. */
    artifacts: path.prefault('state/models'),
    /** An S3-compatible store where models are kept instead: `artifacts` is then each machine's own, for copies and drafts. */
    objectStore: z
      .strictObject({
        endpoint: z.string().refine(isOrigin, 'must be http:// or https://, a host and perhaps a port, and nothing else'),
        bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be 3 to 63 small letters, digits, "." or "-"'),
        region: z.string().min(1).default('us-east-1'),
        prefix: z
          .string()
          .regex(/^([\w.-]+\/)*$/, 'must be names that each end with "/"')
          .default('tremolo/'),
        credentialsFile: fileSetting(folder, true).optional(),
      })
      .optional(),
    http: z.strictObject({ port: z.number().int().min(0).max(65_535), host: z.string().min(1).default('127.0.0.1') }).optional(),
    /** Processes of this machine that do jobs. */
    workers: z.number().int().min(0).max(64).default(1),
    /** A worker that is silent for so long is dead. */
    lease: duration('30s'),
    /** Bytes a second that updates may take together. */
    rate: z.number().int().min(1000).default(4_000_000),
    retrain: z
      .strictObject({
        /** The bundle that gateways are installed with, with all its parts: where retraining begins. */
        bundle: there('manifest.json'),
        /** Recordings of what it knows, to gate on and to calibrate with; its replay windows alone where absent. */
        known: there('dataset.json').optional(),
        /** When: any of these. */
        labels: count.default(12),
        severity: z.number().positive().default(3),
        metric: z.strictObject({ topic: z.string().min(1), fall: share.default(0.05), figures: count.default(20) }).optional(),
        leastLabels: count.default(3),
        /** How: steps of the tuning, of a few weights, or of all of them where `full` says so. */
        steps: count.default(60),
        /** All weights are trained from so many labelled windows or machines on, and where low-rank tuning does not pass the gate. */
        full: z.strictObject({ windows: count.default(240), machines: count.default(8), steps: count.default(240) }).prefault({}),
        seed: z.number().int().nonnegative().default(1),
        /** Accuracy on what it knew that a new model or an adapter may cost; and that an annotator's labels alone may, before they are quarantined. */
        tolerance: share.default(0.02),
        suspicion: share.default(0.05),
      })
      .optional(),
    /** Machines of one kind learn from each other: names as SITE/GATEWAY/STREAM, `*` for any letters. */
    kinds: z.record(z.string().min(1), z.array(z.string().regex(/^[^/]+\/[^/]+\/[^/]+$/, 'write SITE/GATEWAY/STREAM')).min(1)).default({}),
    rollout: z
      .strictObject({
        waves: z.string().default('1,10%,100%'),
        success: share.default(0.9),
        error: share.default(0.1),
        silentAfter: duration('10m'),
        settle: duration('5s'),
        shadowWindows: z.number().int().nonnegative().default(40),
        shadowSeconds: z.number().positive().default(120),
        /** Of shadow windows decided as before: a model that was retrained because the old one erred may differ a lot. */
        agreement: share.default(0.3),
        latencyMs: z.number().positive().default(50),
        alarmShareChange: share.default(1),
        memoryMib: count.default(128),
        /** Sends the part for learning on the gateway too. */
        adapt: z.boolean().default(true),
      })
      .prefault({}),
  });
}

export type ServerConfiguration = z.output<ReturnType<typeof serverSchema>>;

/** @throws Refusal server/configuration with every mistake and its line */
export async function readServerConfiguration(path: string): Promise<ServerConfiguration> {
  return readYaml(path, serverSchema(dirname(resolve(path))), (line, cause) => new Refusal('server/configuration', line, { cause }));
}
