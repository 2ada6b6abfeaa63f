import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Bundle, FILES, readBundle } from '../../models/bundle/bundle.ts';
import { openRecordingSet, type RecordingSet } from '../data/recording-set.ts';
import { Refusal } from '../refusal.ts';
import { renderNoveltyReport } from '../report/novelty-report.ts';
import { renderReport } from '../report/report.ts';
import { trainingReport } from '../report/training-report.ts';
import { ENGINE_NAMES, PRECISIONS } from '../train/engines.ts';
import { trainNoveltyBundle } from '../train/novelty-pipeline.ts';
import { type PipelineResult, trainBundle } from '../train/pipeline.ts';
import { DEFAULT_CHOICES, type PipelineChoices, parseBytes, parseDuration, readSettings } from '../train/settings.ts';
import { DEFAULT_SETTINGS } from '../train/train-network.ts';
import { type PipelineRequest, STRIDE } from '../train/workspace.ts';
import { type Command, choiceOption, numberOption, type ParsedArguments, textOption } from './command.ts';
import {
  channelsOption,
  chosenSet,
  novelSet,
  rateOption,
  referenceOption,
  SELECTION_HELP,
  SELECTION_OPTIONS,
  splitRuleOf,
  strideOption,
  withFileSelection,
} from './selection.ts';
import { percent, stageTable } from './stage-table.ts';
import { noveltyLines, noveltyReport } from './train-novelty.ts';

/** What the options ask for, over what the settings file says. */
export function pipelineRequest(args: ParsedArguments, name: string, choices: PipelineChoices): PipelineRequest {
  const given = (option: string) => textOption(args, option) !== undefined;
  const training = {
    ...(given('steps') && { steps: numberOption(args, 'steps', 0, { min: 1, max: 1e6, whole: true }) }),
    ...(given('learning-rate') && { learningRate: numberOption(args, 'learning-rate', 0, { min: 1e-8, max: 1 }) }),
  };
  const off = (option: string) => args.values[option] === true;
  return {
    name,
    split: splitRuleOf(args),
    channels: channelsOption(args),
    rateHz: rateOption(args),
    stride: strideOption(args),
    reference: referenceOption(args),
    choices: {
      ...choices,
      student: { ...choices.student, ...training },
      teacher: off('no-teacher') || choices.teacher === false ? false : { ...choices.teacher, ...training },
      prune: off('no-prune') ? false : choices.prune,
      baselines: off('no-baselines') ? [] : choices.baselines,
      novelty: noveltyChoice(args, choices.novelty),
      seed: numberOption(args, 'seed', choices.seed, { max: 2 ** 32 - 1, whole: true }),
      budget: durationOption(args, 'budget') ?? choices.budget,
      engine: given('engine') ? choiceOption(args, 'engine', ENGINE_NAMES) : choices.engine,
      precision: given('precision') ? choiceOption(args, 'precision', PRECISIONS) : choices.precision,
      workers: numberOption(args, 'workers', choices.workers, { min: 1, max: 64, whole: true }),
      memory: memoryOption(args) ?? choices.memory,
      latencyMs: numberOption(args, 'latency-ms', choices.latencyMs, { min: 1e-6 }),
      search: numberOption(args, 'search', choices.search, { max: 10_000, whole: true }),
    },
  };
}

function noveltyChoice(args: ParsedArguments, told: PipelineChoices['novelty']): PipelineChoices['novelty'] {
  const asked = textOption(args, 'alarms') !== undefined;
  if (args.values['no-novelty'] === true || (told === false && !asked)) return false;
  return { ...told, ...(asked && { share: numberOption(args, 'alarms', 0, { min: 1e-4, max: 0.5 }) }) };
}

/** The bundle that lends its embedding. @throws Refusal usage/from where there is more than one class to learn */
async function lendingBundle(args: ParsedArguments, set: RecordingSet, labels: number): Promise<Bundle | undefined> {
  const from = textOption(args, 'from');
  if (from === undefined) return undefined;
  if (labels > 1) throw new Refusal('usage/from', `--from is for recordings of one class; ${set.name} has ${labels}, see tremolo tune`);
  return readBundle(from, ['core', 'server']);
}

/** Seconds. @throws Refusal usage/duration */
function durationOption(args: ParsedArguments, name: string): number | undefined {
  const text = textOption(args, name);
  if (text === undefined) return undefined;
  const seconds = parseDuration(text);
  if (!seconds) throw new Refusal('usage/duration', `--${name} is "${text}"; write 90s, 8m or 1h`);
  return seconds;
}

/** Bytes. @throws Refusal usage/size */
function memoryOption(args: ParsedArguments): number | undefined {
  const text = textOption(args, 'memory');
  if (text === undefined) return undefined;
  const bytes = parseBytes(text);
  if (!bytes) throw new Refusal('usage/size', `--memory is "${text}"; write 600M or 2G`);
  return bytes;
}

/** What a training reached, for people. */
function trainLines(result: PipelineResult, out: string): string[] {
  const { stages, evaluation, baselines, gate, split, validation, bundle, params, bytes } = result;
  const { test } = evaluation;
  const scores = ([name, one]: [string, { accuracy: number; balancedAccuracy: number; macroF1: number }]) =>
    `  ${name.padEnd(14)}${percent(one.accuracy).padStart(11)}${percent(one.balancedAccuracy).padStart(11)}${one.macroF1.toFixed(4).padStart(10)}`;
  const { teacherFp32, int8 } = bytes;
  return [
    `${split} (${validation}): ${test.windows} test windows`,
    ...stageTable(stages),
    '',
    `  ${''.padEnd(14)}   accuracy   balanced  macro-F1`,
    scores(['int8', test]),
    ...Object.entries(baselines).map(scores),
    `votes of 8: ${percent(test.vote8)}; recordings: ${percent(test.recordingAccuracy)}; calibration error ${test.ece.toFixed(4)}${test.falseAlarmRate === null ? '' : `; false alarms ${percent(test.falseAlarmRate)} at 99 % of the faults`}`,
    ...(teacherFp32 && params.teacher
      ? [
          `int8 against the teacher: ${(100 * (1 - (params.pruned ?? params.student) / params.teacher)).toFixed(1)} % fewer parameters, ${(100 * (1 - int8 / teacherFp32)).toFixed(1)} % fewer bytes`,
        ]
      : []),
    gate.passed ? 'gate: passed' : `gate: NOT passed: ${gate.reasons.join('; ')}`,
    `bundle ${bundle.digest.slice(0, 12)} written to ${out}; the report is ${out}/report.html`,
  ];
}

/** What `--json` prints of a training. */
export function trainReport(result: PipelineResult): Record<string, unknown> {
  const { bundle, classes, split, validation, recipe, recipes, params, bytes, stages, seconds, evaluation, calibration, baselines, gate } =
    result;
  const brief = ({ accuracy, balancedAccuracy, macroF1 }: NonNullable<PipelineResult['baselines']['ridge']>) => ({
    accuracy,
    balancedAccuracy,
    macroF1,
  });
  return {
    classes,
    split,
    validation,
    recipe,
    recipes,
    params,
    bytes,
    stages,
    seconds,
    test: evaluation.test,
    temperature: calibration.temperature,
    baselines: Object.fromEntries(Object.entries(baselines).map(([name, metrics]) => [name, brief(metrics)])),
    ...(result.novelty && { novelty: result.novelty }),
    ...(result.dual && { dual: result.dual }),
    gate,
    digest: bundle.digest,
  };
}

export const TRAINING_OPTIONS = {
  steps: { type: 'string' },
  'learning-rate': { type: 'string' },
  seed: { type: 'string' },
} as const;

export const train: Command = {
  verb: 'train',
  summary: 'train a bundle from a recording set',
  help: `usage: tremolo train SET --out BUNDLE [options]

Chooses a recipe on the training part, trains a wide teacher, distils it into a small student, prunes the student, turns it into int8, and writes a
bundle measured on recordings that training never saw, beside ridge, random forest and MiniRocket on the same split. Every stage is kept: the same
command goes on where it was interrupted.

Recordings of one class only, whatever its name, make a novelty bundle: it tells normal from novel by where healthy windows lie in an embedding,
the line drawn so that 1 % of healthy windows that training has not seen are called novel.

  --out FOLDER                the bundle to write, with report.html
  --replace                   write over a bundle that another command made
  --config FILE               a train.yaml: all of the following and more (example below); options win over it
${SELECTION_HELP}
  --stride N                  samples from window to window (default ${STRIDE}); one window a recording where it is longer than what is left
  --budget 8m                 fit all training steps into so much time (90s, 8m, 1h)
  --steps N                   training steps (default: the recipe's, ${DEFAULT_SETTINGS.steps} or 800)
  --learning-rate X           (default: the recipe's)
  --search N                  search settings of the student by N trials on the training part
  --no-teacher                train the student on labels alone
  --no-prune                  deploy the whole student
  --no-baselines              do not train ridge, forest and MiniRocket
  --no-novelty                leave out the score that says how unlike a window is to all that was trained on
  --alarms X                  share of healthy windows that may be called novel (default 0.01)
  --drift-set SET             long recordings of other machines that stay as they are, of --healthy of tremolo simulate: drift thresholds are taken
                              from them instead of from the validation part, and promise longer run lengths
  --novel KEY=VALUE           recordings that should be found new, for the report; leave them out of training with --where
  --from BUNDLE               one class only: take the embedding of a bundle of this kind of machine
  --workers N                 threads that share a step (default 1)
  --memory 600M               what the process may take: batches are cut until they fit (gradient accumulation)
  --engine NAME               onnx (default), wasm, cpu or tfjs-node
  --precision NAME            fp32 (default) or fp16, where the engine has it
  --latency-ms X              what one window may take on this machine, for the gate (default ${DEFAULT_CHOICES.latencyMs})
  --require-gate              exit 1 where the bundle is no better than the best baseline, or lost too much by shrinking
  --seed N                    (default 1)

train.yaml: data: { where: [role=main], channels: [DE], test: load_hp=3 }
            budget: 8m
            teacher: { steps: 350, learningRate: 5e-4 }        # or: false
            student: { steps: 350, augmentation: { mask: 0.4, mixup: 0, dropout: 0.1 } }
            prune: { plans: [{ heads: 4, feedForward: 48, hop: 64 }], allowed: 0.003 }   # or: false
            int8: { weightBits: 7, method: entropy }
            novelty: { share: 0.01 }                           # or: false
            leaves: { evidence: features, names: pseudonym }   # the most that a gateway may send of what it sees (raw, stream)

example: tremolo simulate --out plant --machines 20 --seconds 10
         tremolo train plant --out bundle --group machine --budget 4m
         tremolo train plant --out healthy --where label=normal --group machine --novel label=imbalance`,
  options: {
    ...SELECTION_OPTIONS,
    ...TRAINING_OPTIONS,
    out: { type: 'string' },
    replace: { type: 'boolean' },
    config: { type: 'string' },
    stride: { type: 'string' },
    budget: { type: 'string' },
    search: { type: 'string' },
    workers: { type: 'string' },
    memory: { type: 'string' },
    engine: { type: 'string' },
    precision: { type: 'string' },
    'no-teacher': { type: 'boolean' },
    'no-prune': { type: 'boolean' },
    'no-baselines': { type: 'boolean' },
    'no-novelty': { type: 'boolean' },
    alarms: { type: 'string' },
    novel: { type: 'string' },
    'drift-set': { type: 'string' },
    from: { type: 'string' },
    'require-gate': { type: 'boolean' },
    'latency-ms': { type: 'string' },
  },
  positionals: 1,
  async run(given, signal) {
    try {
      return await trainSet(given, signal);
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'interrupted') throw error;
      throw new Refusal('interrupted', `${error.message}; what is done is kept: the same command goes on`, { cause: error });
    }
  },
};

/** Options that change how a bundle is made or judged, not which one it is. */
const BESIDE_THE_BUNDLE = ['out', 'json', 'replace', 'require-gate', 'latency-ms', 'workers', 'memory'];

/** File beside a bundle with the hash of the command that made it. */
const MADE_BY = 'made-by.txt';

/** SHA-256 of a command with the settings file it names: the same command may write over its own bundle. */
async function commandHash({ values, positionals }: ParsedArguments): Promise<string> {
  const options = Object.entries(values).filter(([name]) => !BESIDE_THE_BUNDLE.includes(name));
  const settings = typeof values.config === 'string' ? await readFile(values.config, 'utf8') : '';
  const told = [positionals.map((path) => resolve(path)), options.sort(([a], [b]) => (a < b ? -1 : 1)), settings];
  return createHash('sha256').update(JSON.stringify(told)).digest('hex');
}

/** @throws Refusal train/there where the folder holds a bundle that another command made */
async function refuseOthersBundle(folder: string, command: string): Promise<void> {
  if (!existsSync(join(folder, FILES.manifest))) return;
  const madeBy = await readFile(join(folder, MADE_BY), 'utf8').catch(() => '');
  if (madeBy.trim() !== command)
    throw new Refusal('train/there', `${folder} holds a bundle that another command made; add --replace, or name another folder`);
}

async function trainSet(given: ParsedArguments, signal: AbortSignal): Promise<Record<string, unknown>> {
  const [folder] = given.positionals;
  const out = textOption(given, 'out');
  if (!folder || !out) throw new Refusal('usage/arguments', 'name a recording set and --out; see tremolo train --help');
  const config = textOption(given, 'config');
  const choices = config === undefined ? DEFAULT_CHOICES : await readSettings(config);
  const args = withFileSelection(given, choices.data);
  const set = await chosenSet(folder, args);
  const novel = await novelSet(folder, args);
  const driftSet = textOption(args, 'drift-set');
  const request = {
    ...pipelineRequest(args, basename(resolve(out)), choices),
    novel,
    ...(driftSet !== undefined && { driftSet: await openRecordingSet(driftSet) }),
  };
  const labels = new Set(set.recordings.flatMap(({ label }) => label ?? []));
  const from = await lendingBundle(args, set, labels.size);
  const command = await commandHash(given);
  if (given.values.replace !== true) await refuseOthersBundle(resolve(out), command);
  if (labels.size === 1) {
    if (driftSet !== undefined) throw new Refusal('usage/drift-set', `--drift-set is for two classes or more; ${set.name} has one`);
    const made = await trainNoveltyBundle(set, resolve(out), { ...request, from }, signal);
    await writeFile(join(out, MADE_BY), `${command}\n`);
    await writeFile(join(out, FILES.report), renderNoveltyReport(made, set.name, request, new Date().toISOString()));
    process.stdout.write(`${noveltyLines(made, out).join('\n')}\n`);
    if (args.values['require-gate'] && !made.gate.passed) process.exitCode = 1;
    return noveltyReport(made);
  }
  const result = await trainBundle(set, resolve(out), request, signal);
  await writeFile(join(out, MADE_BY), `${command}\n`);
  await writeFile(join(out, FILES.report), renderReport(trainingReport(result, set.name, request, new Date().toISOString())));
  process.stdout.write(`${trainLines(result, out).join('\n')}\n`);
  if (args.values['require-gate'] && !result.gate.passed) process.exitCode = 1;
  return trainReport(result);
}
