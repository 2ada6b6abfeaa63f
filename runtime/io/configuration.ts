import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { type Checked, check } from '../../models/checks/mistakes.ts';
import { CodedRefusal } from '../../models/checks/refusal.ts';
import { EVIDENCE_KINDS } from '../contracts/drift.ts';
import { patternFault } from '../contracts/topic-pattern.ts';
import { isTopicName } from '../contracts/topics.ts';
import { foreignFormatSchema } from '../sources/index.ts';
import { LARGEST_BATCH } from './protocol.ts';
import { fileSetting } from './secret-file.ts';
import { readYaml } from './yaml-file.ts';

const topicName = z.string().refine(isTopicName, 'must be letters, digits, ".", "_" or "-", at most 64');
const qos = z.union([z.literal(0), z.literal(1)], 'must be 0 or 1').default(0);

const MQTT_VERSIONS = { '3.1.1': 4, '5': 5 } as const;

const serialLine = {
  /** Such as /dev/ttyUSB0, /dev/serial/by-id/…, COM3. */
  path: z.string().min(1).optional(),
  /** A USB device by vendor and product, such as 0403:6001: found again on whichever port it comes back. */
  usb: z
    .string('must be text such as "0403:6001", in quotes')
    .regex(/^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$/, 'must be vendor:product in hexadecimal, such as "0403:6001"')
    .optional(),
  /** A USB device by the serial number that it reports; with `usb` one of several of a kind. */
  serialNumber: z.string('must be text: put it in quotes').min(1).optional(),
  baudRate: z.number().int().positive().default(115_200),
};

interface LineSetting {
  readonly path?: string;
  readonly usb?: string;
  readonly serialNumber?: string;
}

const namesOnePort = ({ path, usb, serialNumber }: LineSetting) =>
  (path !== undefined) !== (usb !== undefined || serialNumber !== undefined);
const ONE_PORT = 'name the port: either path, or usb (vendor:product) and/or serialNumber';

const framesPort = z.strictObject({ name: topicName, ...serialLine }).refine(namesOnePort, ONE_PORT);

const topicSource = { topic: z.string().min(1), stream: z.string().min(1) };

function checkPattern({ topic, stream }: { topic: string; stream: string }, context: z.RefinementCtx): void {
  const message = patternFault(topic, stream);
  if (message) context.addIssue({ code: 'custom', path: ['topic'], message });
}

const framesTopic = z.strictObject({ ...topicSource, qos: qos.optional() }).superRefine(checkPattern);

const foreignTopic = z.strictObject({ ...topicSource, qos: qos.optional(), format: foreignFormatSchema }).superRefine(checkPattern);
const foreignPort = z
  .strictObject({ stream: topicName, ...serialLine, format: foreignFormatSchema })
  .refine(namesOnePort, `${ONE_PORT}; or give a topic`);

/** Sensors that do not speak frames, on a topic or on a port: told apart by `topic`, so that the mistakes are those of the one that was meant. */
const foreignSource = z.unknown().transform((value, context) => {
  const isTopic = typeof value === 'object' && value !== null && 'topic' in value;
  const checked = check<z.output<typeof foreignTopic> | z.output<typeof foreignPort>>(isTopic ? foreignTopic : foreignPort, value);
  if ('data' in checked) return checked.data;
  for (const { at, message } of checked.mistakes) context.addIssue({ code: 'custom', path: [...at], message });
  return z.NEVER;
});

export function brokerSchema(folder: string) {
  return z
    .strictObject({
      url: z.url({ protocol: /^(mqtts?|wss?)$/, error: 'must be a URL that begins with mqtt://, mqtts://, ws:// or wss://' }),
      protocolVersion: z
        .union([z.literal('3.1.1'), z.literal('5'), z.literal(5)], 'must be 3.1.1 or 5')
        .default('3.1.1')
        .transform((version) => MQTT_VERSIONS[`${version}`]),
      /** Of the subscriptions to samples; what a device publishes with less comes with less. */
      qos,
      ca: fileSetting(folder).optional(),
      cert: fileSetting(folder).optional(),
      key: fileSetting(folder, true).optional(),
      username: z.string().min(1).optional(),
      passwordFile: fileSetting(folder, true).optional(),
    })
    .superRefine(({ url, ca, cert, key, username, passwordFile }, context) => {
      const demand = (holds: boolean, path: string, message: string) => {
        if (!holds) context.addIssue({ code: 'custom', path: [path], message });
      };
      const encrypted = /^(mqtts|wss):/.test(url);
      for (const [name, value] of Object.entries({ ca, cert, key }))
        demand(value === undefined || encrypted, name, 'is for mqtts:// and wss:// only; the url would send everything in the clear');
      demand((cert === undefined) === (key === undefined), cert === undefined ? 'key' : 'cert', 'cert and key go together');
      demand(passwordFile === undefined || username !== undefined, 'passwordFile', 'needs a username');
    });
}

/** Names that differ, or the mistake at each that came before. */
function differ(of: (entry: never) => string) {
  return (entries: readonly unknown[], context: z.RefinementCtx) => {
    const seen = new Set<string>();
    for (const [index, entry] of entries.entries()) {
      const name = of(entry as never);
      if (seen.has(name)) context.addIssue({ code: 'custom', path: [index], message: `${name} is there twice` });
      seen.add(name);
    }
  };
}

/** Schema of gateway.yaml. @param folder that relative paths begin in */
function gatewaySchema(folder: string) {
  return z.strictObject({
    site: topicName,
    gateway: topicName,
    bundle: z
      .string()
      .min(1)
      .transform((path) => resolve(folder, path)),
    broker: brokerSchema(folder),
    /** Ports that speak Tremolo frames; a port's streams are called `name-<stream id>`. */
    serial: z
      .array(framesPort)
      .superRefine(differ(({ name }: { name: string }) => name))
      .default([]),
    /** Topics other than the gateway's own on which frames come. */
    mqtt: z
      .array(framesTopic)
      .superRefine(differ(({ topic }: { topic: string }) => topic))
      .default([]),
    foreign: z
      .array(foreignSource)
      .superRefine(differ(({ stream }: { stream: string }) => stream))
      .default([]),
    engine: z.enum(['onnxruntime', 'wasm']).default('onnxruntime'),
    /** Threads inside one run of the model, and windows that share one: `tremolo bench engine --tune` chooses them for a device. */
    threads: z.number().int().positive().max(64).default(1),
    largestBatch: z.number().int().positive().max(LARGEST_BATCH).default(LARGEST_BATCH),
    /** Rings are made for so many streams at the start. */
    largestStreams: z.number().int().positive().max(10_000).default(256),
    /** What must outlive a restart. systemd's StateDirectory= where it is set. */
    stateFolder: z
      .string()
      .min(1)
      .default(process.env.STATE_DIRECTORY ?? './state')
      .transform((path) => resolve(folder, path)),
    /** Adapters that streams begin with, by stream; what the gateway was sent or has learned since lies in stateFolder/adapters and goes before. */
    adapters: z.record(topicName, fileSetting(folder)).default({}),
    /** How the gateway learns from labels; see adapt-service.ts. */
    learn: z
      .strictObject({
        enabled: z.boolean().default(true),
        /** From a stream's last label to the beginning of an adaptation. */
        settleSeconds: z.number().min(0).max(3600).default(10),
        /** What one adaptation may use; and the share of the time in which its thread works. */
        cpuSeconds: z.number().positive().max(3600).default(5),
        wallSeconds: z.number().positive().max(3600).default(120),
        workShare: z.number().gt(0).max(1).default(0.25),
        /** Live windows that a new adapter decides beside the old one before it decides alone. */
        shadowWindows: z.number().int().min(1).max(1024).default(32),
        /** Memory for the last windows of all streams, so that a label finds its own. */
        recentBytes: z
          .number()
          .int()
          .min(65_536)
          .max(2 ** 31)
          .default(8 * 1024 * 1024),
        /** Whether adapters are published for the server; raw samples never are. */
        upload: z.boolean().default(false),
      })
      .prefault({}),
    /** Signed updates over the broker; without it there are none. `root`: the repository's root.json, as it is when the gateway is installed. */
    update: z.strictObject({ root: fileSetting(folder) }).optional(),
    /** What is said of machines that have become unlike themselves, and what of it leaves the site. */
    drift: z
      .strictObject({
        /** Windows to a false alarm that one stream may have in the mean. */
        runLength: z.number().int().min(100).default(100_000),
        /** Samples, their features, or neither. */
        evidence: z.enum(EVIDENCE_KINDS).default('features'),
        evidenceWindows: z.number().int().min(1).max(8).default(4),
        /** Whether streams leave under their own names, or as the pseudonym that assets always leave as. */
        names: z.enum(['stream', 'pseudonym']).default('stream'),
      })
      .prefault({}),
    outbox: z.strictObject({ largestBytes: z.number().int().min(65_536) }).default({ largestBytes: 64 * 1024 * 1024 }),
    http: z.strictObject({ port: z.number().int().min(0).max(65_535), host: z.string().min(1).default('127.0.0.1') }).optional(),
  });
}

export type GatewayConfiguration = z.output<ReturnType<typeof gatewaySchema>>;
export type BrokerConfiguration = GatewayConfiguration['broker'];
export type ForeignSource = GatewayConfiguration['foreign'][number];
export type ForeignTopic = Extract<ForeignSource, { topic: string }>;

export const isForeignTopic = (source: ForeignSource): source is ForeignTopic => 'topic' in source;

/** Whether anything comes over serial ports. */
export const namesPorts = ({ serial, foreign }: Pick<GatewayConfiguration, 'serial' | 'foreign'>): boolean =>
  serial.length > 0 || !foreign.every(isForeignTopic);

/** A configuration that is refused, with every mistake and its line. */
export class ConfigurationRefusal extends CodedRefusal<'config/invalid'> {
  constructor(message: string, options?: ErrorOptions) {
    super('config/invalid', message, options);
  }
}

/** Checks what shall become a gateway.yaml. @param folder that relative paths begin in */
export function checkConfiguration(folder: string, value: unknown): Checked<GatewayConfiguration> {
  return check(gatewaySchema(folder), value);
}

/** Reads gateway.yaml; all its paths become absolute. @throws ConfigurationRefusal with all mistakes in one line */
export async function readConfiguration(path: string): Promise<GatewayConfiguration> {
  return readYaml(path, gatewaySchema(dirname(resolve(path))), (line, cause) => new ConfigurationRefusal(line, { cause }));
}

/** The port of a configuration as `openSerial` wants it. */
export function serialOptionsOf({ path, usb, serialNumber, baudRate }: LineSetting & { baudRate: number }) {
  if (path !== undefined) return { path, baudRate };
  const [vendorId, productId] = usb?.split(':') ?? [];
  return { usb: { vendorId, productId, serialNumber }, baudRate };
}
