import { randomUUID } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { sha256 } from '../../models/bundle/bundle.ts';
import { check, mistakesLine } from '../../models/checks/mistakes.ts';
import { type Label, type LabelReceipt, labelReceiptSchema, labelSchema, TIERS } from '../../runtime/contracts/label.ts';
import { type Diagnosis, diagnosisSchema } from '../../runtime/contracts/messages.ts';
import { gatewayTopics, isTopicName } from '../../runtime/contracts/topics.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import { Refusal } from '../refusal.ts';
import { choiceOption, type Options, type ParsedArguments, textOption } from './command.ts';
import { brokerOption } from './fleet-options.ts';

/** For the broker, for a retained diagnosis, and for the gateway's answer. */
const PATIENCE_MS = 10_000;

export const LABEL_OPTIONS = {
  window: { type: 'string' },
  signal: { type: 'string' },
  reject: { type: 'boolean' },
  unsure: { type: 'boolean' },
  annotator: { type: 'string' },
  tier: { type: 'string' },
  queue: { type: 'boolean' },
  agreement: { type: 'boolean' },
} as const satisfies Options;

export const LABEL_HELP = `  label      says what a stream's window shows: CLASS, or with --reject what it does not show, or --unsure; waits for the gateway's answer

  --window EPOCH:END[-END]  the window that ends with that sequence, or all that end between two; default the one decided last
  --signal ID               the windows that a drift signal gave as evidence
  --annotator NAME          who says it (default: made of this machine's and user's name); leaves the gateway as a keyed pseudonym, which is told
  --tier TIER               ${TIERS.join(', ')} (default ${TIERS[0]})
  --queue                   with server.yaml: windows of signals that wait for a word, the one first that would tell most; with --tier expert
                            those that only an expert can settle, with --annotator PSEUDONYM none that they have labelled already
  --agreement               with server.yaml: how far annotators agree beyond chance: Cohen, Fleiss, Krippendorff with interval`;

function subjectOption(args: ParsedArguments): Label['subject'] | undefined {
  const [window, signal] = [textOption(args, 'window'), textOption(args, 'signal')];
  if (window !== undefined && signal !== undefined) throw new Refusal('usage/arguments', 'give --window or --signal, not both');
  if (signal !== undefined) return { kind: 'signal', signal };
  if (window === undefined) return undefined;
  const [, epoch, from, to] = /^(\d{1,15}):(\d{1,15})(?:-(\d{1,15}))?$/.exec(window) ?? [];
  if (epoch === undefined) throw new Refusal('usage/arguments', `--window is "${window}"; write EPOCH:END or EPOCH:FROM-TO, as in 0:5120`);
  if (to === undefined) return { kind: 'window', epoch: Number(epoch), endSequence: Number(from) };
  return { kind: 'span', epoch: Number(epoch), fromSequence: Number(from), toSequence: Number(to) };
}

/** The same person at the same machine is the same annotator, and nobody can read who. */
function ownPseudonym(): string {
  return `a-${sha256(new TextEncoder().encode(`${hostname()}/${userInfo().username}`)).slice(0, 12)}`;
}

interface Wish {
  readonly site: string;
  readonly gateway: string;
  readonly stream: string;
  readonly class: string | undefined;
  readonly says: 'class' | 'reject' | 'unsure';
}

function wishOf([, place, stream, name]: readonly string[], args: ParsedArguments): Wish {
  const [site, gateway, ...more] = place?.split('/') ?? [];
  const [reject, unsure] = [args.values.reject === true, args.values.unsure === true];
  if (reject && unsure) throw new Refusal('usage/arguments', 'give --reject or --unsure, not both');
  if (!site || !gateway || more.length > 0 || !stream || ![site, gateway, stream].every(isTopicName))
    throw new Refusal('usage/arguments', 'write fleet label SITE/GATEWAY STREAM CLASS; see tremolo fleet --help');
  if (unsure !== (name === undefined))
    throw new Refusal('usage/arguments', unsure ? '--unsure names no class' : 'name a class, or say --unsure');
  return { site, gateway, stream, class: name, says: unsure ? 'unsure' : reject ? 'reject' : 'class' };
}

/** @param decided the stream's last decision, where the label is about it */
function labelOf(wish: Wish, subject: Label['subject'], decided: Diagnosis | undefined, args: ParsedArguments): Label {
  const verdict = wish.says === 'class' ? (decided?.decision === wish.class ? 'confirm' : 'correct') : wish.says;
  const label = check(labelSchema, {
    id: randomUUID(),
    stream: wish.stream,
    at: new Date().toISOString(),
    annotator: textOption(args, 'annotator') ?? ownPseudonym(),
    tier: choiceOption(args, 'tier', TIERS),
    subject,
    verdict,
    ...(wish.class !== undefined && { class: wish.class }),
  });
  if ('data' in label) return label.data;
  throw new Refusal('usage/arguments', mistakesLine(label.mistakes, 'label'));
}

const ANSWERS: Record<LabelReceipt['outcome'], string> = {
  taken: 'taken as an example',
  noted: 'noted',
  repeated: 'was there already',
  windowGone: 'the gateway no longer has this window: label sooner, or raise learn.recentBytes in gateway.yaml',
  unknownClass: 'kept, but the bundle that runs has no such class: it can be learned by training only',
  notKept: 'the disk of the gateway does not take it: it has gone to the server alone; see the log of the gateway',
  cannotLearn: 'the bundle that runs cannot learn: it has no part adapt, or follows a machine by its reference',
};

/**
 * `tremolo fleet label SITE/GATEWAY STREAM CLASS`.
 *
 * @throws Refusal usage/arguments, fleet/broker, fleet/stream where nothing was decided yet, fleet/label where the gateway does not answer or cannot use it
 */
export async function sendLabel(args: ParsedArguments): Promise<Record<string, unknown>> {
  const wish = wishOf(args.positionals, args);
  const asked = subjectOption(args);
  const topics = gatewayTopics(wish.site, wish.gateway);
  const broker = brokerOption(args);
  let trouble = 'no answer';
  const onTrouble = (error: Error) => {
    trouble = error.message || String(error);
  };
  const clientId = `tremolo-label-${randomUUID().slice(0, 8)}`;
  const client = connectBroker(broker.url, onTrouble, { ...brokerOptions(broker), clientId });
  /** The first message of a topic that is meant. */
  const first = <T>(topic: string, read: (payload: string) => T | undefined, refusal: () => Refusal): Promise<T> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(refusal()), PATIENCE_MS);
      client.on('message', (given, payload) => {
        const message = given === topic ? read(payload.toString()) : undefined;
        if (message === undefined) return;
        clearTimeout(timer);
        resolve(message);
      });
      client.subscribe(topic, { qos: 1 });
    });
  try {
    const noStream = () =>
      client.connected
        ? new Refusal('fleet/stream', `${wish.site}/${wish.gateway} has decided nothing of stream ${wish.stream}; see tremolo fleet status`)
        : new Refusal('fleet/broker', `${broker.url} cannot be reached: ${trouble}`);
    // The last decision is retained. It proves the stream's name, and says what a label without a window is about.
    const decided = await first(topics.diagnosis(wish.stream), (text) => diagnosisSchema.safeParse(parse(text)).data, noStream);
    const subject = asked ?? { kind: 'window', epoch: decided.epoch, endSequence: decided.endSequence };
    const label = labelOf(wish, subject, asked ? undefined : decided, args);
    const answered = first(
      topics.labelled(wish.stream),
      (text) => {
        const { data } = labelReceiptSchema.safeParse(parse(text));
        return data?.id === label.id ? data : undefined;
      },
      () => new Refusal('fleet/label', `${wish.site}/${wish.gateway} does not answer; it may be away, or learn.enabled be false`),
    );
    await client.publishAsync(topics.label(wish.stream), JSON.stringify(label), { qos: 1 });
    const receipt = await answered;
    const words = `${label.verdict}${wish.class ? ` ${wish.class}` : ''}: ${ANSWERS[receipt.outcome]} (${receipt.windows} windows), by ${receipt.label.annotator}`;
    if (receipt.outcome === 'windowGone' || receipt.outcome === 'cannotLearn') throw new Refusal('fleet/label', words);
    process.stdout.write(`${words}\n`);
    return { label, receipt };
  } finally {
    await client.endAsync(true);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
