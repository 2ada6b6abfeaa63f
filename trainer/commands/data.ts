import { applyCleaning, refuseTarget } from '../data/clean/apply.ts';
import { renderCleaning } from '../data/clean/render.ts';
import { surveySet } from '../data/clean/survey.ts';
import { eraseRecordings, planErasure } from '../data/import/erase.ts';
import { type ImportedSet, importRecordings } from '../data/import/import-set.ts';
import { checkMapping, type Mapping, readMapping } from '../data/import/mapping.ts';
import { describeSet, renderInfo } from '../data/info.ts';
import { openRecordingSet, parseCondition, select } from '../data/recording-set.ts';
import { Repository } from '../fleet/repository.ts';
import { ProgressBar } from '../io/progress.ts';
import { Refusal } from '../refusal.ts';
import { readServerConfiguration } from '../server/configuration.ts';
import { eraseFromServer } from '../server/erase.ts';
import { openModelStore } from '../server/model-store.ts';
import { openBooks } from '../server/open-books.ts';
import { type Command, choiceOption, listOption, numberOption, type Options, type ParsedArguments, textOption } from './command.ts';

/** What can be done with data: `tremolo data NAME`. */
interface Action {
  readonly summary: string;
  /** Usage and options, as they stand in the help. */
  readonly help: string;
  readonly options: Options;
  run(folder: string, args: ParsedArguments, signal: AbortSignal): Promise<Record<string, unknown>>;
}

const counted = (count: number, name: string) => `${count} ${name}${count === 1 ? '' : 's'}`;

const TEXT = { type: 'string' } as const;
const SWITCH = { type: 'boolean' } as const;
const WHERE = { where: { type: 'string', multiple: true } } as const;

const info: Action = {
  summary: 'what is in a recording set, with a picture of each class',
  help: `  tremolo data info SET [--where KEY=VALUE[,VALUE]] [--channels NAME] [--verify]
    --where KEY=VALUE[,VALUE]  only recordings with that condition (repeatable)
    --channels NAME            the channel to picture (default: the first)
    --verify                   compare every file with its sha256`,
  options: { ...WHERE, channels: TEXT, verify: SWITCH },
  async run(folder, args) {
    const set = select(await openRecordingSet(folder), listOption(args, 'where').map(parseCondition));
    const found = await describeSet(set, { channel: textOption(args, 'channels')?.split(',')[0], verify: args.values.verify === true });
    process.stdout.write(`${renderInfo(found).join('\n')}\n`);
    const [first] = found.problems;
    if (first) {
      throw new Refusal(
        'data/file',
        `${found.problems.length} of ${found.recordings} files of ${set.name} are broken, the first: ${first.file} ${first.problem}`,
      );
    }
    return { ...found };
  },
};

/** `A,B` or `NAME=COLUMN,NAME=COLUMN`. */
function channelsOf(text: string): Mapping['channels'] {
  const parts = text.split(',').map((part) => part.split('='));
  if (!parts.some(({ length }) => length > 1)) return parts.map(([name]) => name);
  return Object.fromEntries(parts.map(([name, ...column]) => [name, column.join('=') || name]));
}

/** What the options say of the files: the same fields as a mapping file. @throws Refusal usage/mapping, usage/number, usage/choice */
function mappingOptions(args: ParsedArguments): Mapping {
  if (args.values.label !== undefined && args.values.unlabelled) {
    throw new Refusal('usage/arguments', '--label and --unlabelled exclude each other');
  }
  const [channels, delimiter] = [textOption(args, 'channels'), textOption(args, 'delimiter')];
  const positive = (name: string, min: number) => (args.values[name] === undefined ? undefined : numberOption(args, name, 1, { min }));
  const csv = {
    ...(delimiter !== undefined && { delimiter: delimiter === 'tab' ? '\t' : delimiter === 'blank' ? ' ' : delimiter }),
    ...(args.values.header !== undefined && { header: choiceOption(args, 'header', ['yes', 'no']) === 'yes' }),
  };
  const stated = {
    label: args.values.unlabelled ? null : textOption(args, 'label'),
    pattern: textOption(args, 'pattern'),
    channels: channels === undefined ? undefined : channelsOf(channels),
    rate: positive('rate', 1e-3),
    scale: positive('scale', -Number.MAX_VALUE),
    unit: textOption(args, 'unit'),
    dtype: textOption(args, 'dtype'),
    format: textOption(args, 'format'),
    csv: Object.keys(csv).length > 0 ? csv : undefined,
  };
  return checkMapping(Object.fromEntries(Object.entries(stated).filter(([, value]) => value !== undefined)));
}

function importLines({ recordings, classes, sampleRateHz, channels, leftOut, unusedColumns }: ImportedSet, out: string): string[] {
  const width = Math.max(...Object.keys(classes).map((label) => label.length), 10);
  const lines = Object.entries(classes).map(
    ([label, one]) =>
      `  ${(label === 'null' ? '(no label)' : label).padEnd(width)} ${String(one.recordings).padStart(6)} ${one.seconds.toFixed(1).padStart(10)} s`,
  );
  const unused = Object.entries(unusedColumns).map(([column, files]) => `${column}${files > 1 ? ` in ${files} files` : ''}`);
  return [
    `${counted(recordings, 'recording')} at ${sampleRateHz.join(', ')} Hz, channels ${channels.map((names) => names.join(', ')).join(' | ')}`,
    ...lines,
    ...(unused.length > 0 ? [`columns left out: ${unused.join(', ')}`] : []),
    ...(leftOut.length > 0
      ? [`${counted(leftOut.length, 'file')} left out:`, ...leftOut.slice(0, 5).map(({ file, reason }) => `  ${file}: ${reason}`)]
      : []),
    ...(leftOut.length > 5 ? [`  and ${leftOut.length - 5} more; dataset.json lists them all`] : []),
    `written to ${out}; look at it with: tremolo data info ${out}`,
  ];
}

const importAction: Action = {
  summary: 'CSV, WAV, Parquet and MATLAB v5 files into a recording set',
  help: `  tremolo data import SOURCE --out SET [--map map.yaml] [options]
    SOURCE is a file or a folder; one file is one recording, of the class that its first folder below SOURCE names.
    --out FOLDER               the recording set to write, outside of SOURCE
    --map FILE                 a mapping file: all of the following and exceptions by file (example below)
    --rate HZ                  sample rate of files that do not state it (a column of times, WAV)
    --channels A,B             columns to take; NAME=COLUMN,... renames them, * and ? stand for any characters
    --label NAME               the class of all files; --unlabelled: they have none
    --pattern REGEX            searched in the path below SOURCE: group (?<label>...) is the class, other groups are conditions
    --scale NUMBER             what a value is multiplied by; --unit TEXT: what it is in then
    --dtype float32|int16      how values are stored (default: int16 for 16-bit sources, float32 for others)
    --format NAME              csv, wav, parquet or matlab, whatever the extension
    --delimiter C --header yes|no  of text tables (default: detected; C may be tab or blank)
    --mixed                    files may differ in rate and channels
    --skip-bad                 leave out files that cannot be imported, each with the reason
    --replace                  write over a recording set that is there`,
  options: {
    ...{ out: TEXT, map: TEXT, rate: TEXT, channels: TEXT, label: TEXT, unlabelled: SWITCH, pattern: TEXT, scale: TEXT, unit: TEXT },
    ...{ dtype: TEXT, format: TEXT, delimiter: TEXT, header: TEXT, mixed: SWITCH, 'skip-bad': SWITCH, replace: SWITCH },
  },
  async run(source, args, signal) {
    const [out, map] = [textOption(args, 'out'), textOption(args, 'map')];
    if (!out) throw new Refusal('usage/arguments', 'name the recording set to write with --out; see tremolo data --help');
    const stated = mappingOptions(args);
    const read = map === undefined ? {} : await readMapping(map);
    const mapping = { ...read, ...stated, ...((read.csv || stated.csv) && { csv: { ...read.csv, ...stated.csv } }) };
    const bar = new ProgressBar('import');
    const made = await importRecordings(
      source,
      out,
      mapping,
      {
        mixed: args.values.mixed === true,
        skipBad: args.values['skip-bad'] === true,
        replace: args.values.replace === true,
        onProgress: (share, file) => bar.update(share, file),
      },
      signal,
    );
    bar.done(`${counted(made.recordings, 'recording')}, ${(made.bytes / 1e6).toFixed(1)} MB`);
    process.stdout.write(`${importLines(made, out).join('\n')}\n`);
    return { ...made };
  },
};

const erase: Action = {
  summary: 'remove recordings from a set, or a pseudonym from a server; without --yes nothing is touched',
  help: `  tremolo data erase SET --where KEY=VALUE[,VALUE] [--yes]
  tremolo data erase server.yaml --pseudonym NAME [--yes]
    --where KEY=VALUE[,VALUE]  the recordings to remove (repeatable: all must hold)
    --pseudonym NAME           an asset or annotator: its samples, signals and labels, the models that learned from it, their replay windows
    --yes                      do it; otherwise nothing is touched`,
  options: { ...WHERE, pseudonym: TEXT, yes: SWITCH },
  async run(folder, args) {
    const pseudonym = textOption(args, 'pseudonym');
    if (pseudonym !== undefined) return erasePseudonym(folder, pseudonym, args);
    const conditions = listOption(args, 'where').map(parseCondition);
    const isMeant = args.values.yes === true;
    const { erased, kept, bytes, lostClasses } = await (isMeant ? eraseRecordings : planErasure)(folder, conditions);
    const lost = lostClasses.length > 0 ? `; nothing ${isMeant ? 'remains' : 'would remain'} of class ${lostClasses.join(', ')}` : '';
    process.stdout.write(
      [
        ...erased.slice(0, 20).map(({ file, label }) => `  ${file}  ${label ?? '(no label)'}`),
        ...(erased.length > 20 ? [`  and ${erased.length - 20} more`] : []),
        `${isMeant ? 'erased' : 'would erase'} ${counted(erased.length, 'recording')}, ${(bytes / 1e6).toFixed(1)} MB; ${kept} ${isMeant ? 'remain' : 'would remain'}${lost}`,
        ...(isMeant ? [] : ['nothing was touched; --yes does it']),
        '',
      ].join('\n'),
    );
    return { done: isMeant, erased: erased.map(({ file }) => file), kept, bytes, lostClasses };
  },
};

/** @param path of a server.yaml */
async function erasePseudonym(path: string, pseudonym: string, args: ParsedArguments): Promise<Record<string, unknown>> {
  if (listOption(args, 'where').length > 0) throw new Refusal('usage/arguments', '--where is for recordings, --pseudonym for a server');
  const configuration = await readServerConfiguration(path);
  if (args.values.yes !== true) {
    process.stdout.write(`nothing was touched; --yes erases ${pseudonym} from the server of ${path}\n`);
    return { done: false };
  }
  const repository = await Repository.open(configuration.repository);
  const books = await openBooks(configuration, process.env.DATABASE_URL, () => {});
  try {
    const done = await eraseFromServer(repository.folder, books.store, openModelStore(configuration), await repository.sites(), pseudonym);
    const kinds = Object.entries(done.erased).map(([kind, count]) => `${count} ${kind}`);
    process.stdout.write(
      [
        `erased ${kinds.join(', ')}; ${counted(done.replaySets, 'replay set')}`,
        ...done.retrain.map(
          ({ digest, site, deployment }) =>
            `  model ${digest.slice(0, 12)} of ${site} must be made again${deployment ? `; gateways run it: ${deployment}` : ''}`,
        ),
        ...(done.retrain.length > 0
          ? ['tremolo serve makes the next of the labels that are left; where none are: tremolo fleet rollback']
          : []),
        '',
      ].join('\n'),
    );
    return { done: true, ...done };
  } finally {
    await books.close();
  }
}

const clean: Action = {
  summary: 'find invalid, ambiguous and duplicated windows; without --apply it only says which',
  help: `  tremolo data clean SET [--where KEY=VALUE[,VALUE]] [--channels A,B] [--rate HZ] [--window N] [--apply --out SET2]
    --where KEY=VALUE[,VALUE]  only look at recordings with that condition (repeatable); the others stay as they are
    --channels A,B             only look at these channels (default: all)
    --rate HZ                  the rate that recordings should have (default: the commonest)
    --window N                 samples a window (default 512)
    --apply --out SET2         write a new set without what was found; what was left out stands in its dataset.json, with the reason`,
  options: { ...WHERE, channels: TEXT, rate: TEXT, window: TEXT, apply: SWITCH, out: TEXT },
  async run(folder, args, signal) {
    const [isMeant, out] = [args.values.apply === true, textOption(args, 'out')];
    if (isMeant !== (out !== undefined)) {
      throw new Refusal('usage/arguments', '--apply and --out SET2 belong together: the cleaned set is a new one; see tremolo data --help');
    }
    const window = numberOption(args, 'window', 512, { min: 64, max: 65_536, whole: true });
    const rateHz = args.values.rate === undefined ? undefined : numberOption(args, 'rate', 0, { min: 1e-3 });
    const set = await openRecordingSet(folder);
    if (out !== undefined) await refuseTarget(set, out);
    const bar = new ProgressBar('clean');
    const onProgress = (share: number, note: string) => bar.update(share, note);
    const chosen = select(set, listOption(args, 'where').map(parseCondition));
    const report = await surveySet(chosen, { window, channels: textOption(args, 'channels')?.split(','), rateHz, signal, onProgress });
    bar.done(`${counted(report.findings.length, 'finding')} in ${counted(report.recordings, 'recording')}`);
    const lines = renderCleaning(report);
    if (out === undefined) {
      process.stdout.write(`${[...lines, 'nothing was touched; --apply --out SET2 writes a set without them'].join('\n')}\n`);
      return { ...report, applied: false };
    }
    const { recordings, removed, leftOut, cut, lostClasses } = await applyCleaning(set, report, out, { signal, onProgress });
    const lost = lostClasses.length > 0 ? `; nothing remains of class ${lostClasses.join(', ')}` : '';
    lines.push(
      `${counted(recordings, 'recording')} written to ${out}: ${leftOut} left out, ${cut} cut, ${counted(removed.length, 'row')} under "removed" in its dataset.json${lost}`,
    );
    process.stdout.write(`${lines.join('\n')}\n`);
    return { ...report, applied: true, written: { out, recordings, removed: removed.length, leftOut, cut, lostClasses } };
  },
};

const ACTIONS: Readonly<Record<string, Action>> = { info, import: importAction, clean, erase };

const EXAMPLE = `example: recordings/normal/*.csv and recordings/worn/*.csv, 1000 samples a second:
         tremolo data import recordings --rate 1000 --out plant
         tremolo data info plant

example map.yaml:
  name: hall-3
  pattern: '(?<machine>m\\d+)/(?<label>[a-z]+)_(?<load>\\d)hp'   # m7/inner_2hp.mat: class inner, machine m7, load 2
  labels: { ok: normal, 'ir*': inner_race }                   # other names for classes; * is any characters
  channels: { DE: '*_DE_time', FE: '*_FE_time' }              # channel: column
  rate: 12000
  scale: 9.80665                                              # or one a channel: { DE: 9.8, FE: 1 }
  unit: m/s2
  conditions: { site: north, rpm: { scalar: '*RPM' } }        # constants, and single numbers of a MATLAB file
  csv: { delimiter: ';', decimal: ',', header: true, skipLines: 3 }
  files:                                                      # exceptions, by path below the source
    - { match: 'm9/*', conditions: { site: south } }
    - { match: '*/test_*', skip: trial runs }`;

export const data: Command = {
  verb: 'data',
  summary: `recording sets: ${Object.keys(ACTIONS).join(', ')}`,
  help: [
    `usage: tremolo data ${Object.keys(ACTIONS).join('|')} FOLDER [options]`,
    ...Object.entries(ACTIONS).map(([name, { summary, help }]) => `${name}: ${summary}\n${help}`),
    EXAMPLE,
  ].join('\n\n'),
  options: Object.assign({}, ...Object.values(ACTIONS).map(({ options }) => options)) as Options,
  positionals: 2,
  async run(args, signal) {
    const [name, folder] = args.positionals;
    const action = Object.hasOwn(ACTIONS, name ?? '') ? ACTIONS[name] : undefined;
    if (!action) {
      throw new Refusal(
        'usage/arguments',
        `say what to do: tremolo data ${Object.keys(ACTIONS).join('|')} FOLDER; see tremolo data --help`,
      );
    }
    const strange = Object.keys(args.values).filter((option) => !(option in action.options) && option !== 'json');
    if (strange.length > 0) {
      throw new Refusal('usage/arguments', `data ${name} has no option --${strange.join(', --')}; see tremolo data --help`);
    }
    if (!folder) throw new Refusal('usage/arguments', `name a folder: tremolo data ${name} FOLDER; see tremolo data --help`);
    return action.run(folder, args, signal);
  },
};
