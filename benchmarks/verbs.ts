import { adaptVerb } from './adapt/command.ts';
import { compareVerb } from './compare.ts';
import { engineVerb } from './engine/command.ts';
import { pushVerb } from './push/command.ts';
import { soakVerb } from './soak/command.ts';
import { capacityVerb } from './streams/capacity.ts';
import { streamsVerb } from './streams/command.ts';
import { swapVerb } from './swap/command.ts';
import { runVerb, type VerbContext } from './verb.ts';

/** What `tremolo bench NAME` runs, each with options of its own; all else are ids of scenarios. @returns the exit code */
export const VERBS: Readonly<Record<string, (argv: readonly string[], context: VerbContext) => Promise<number>>> = {
  engine: (argv, context) => runVerb(engineVerb, argv, context),
  streams: (argv, context) =>
    runVerb(
      argv.includes('--capacity') ? capacityVerb : streamsVerb,
      argv.filter((argument) => argument !== '--capacity'),
      context,
    ),
  adapt: (argv, context) => runVerb(adaptVerb, argv, context),
  swap: (argv, context) => runVerb(swapVerb, argv, context),
  push: (argv, context) => runVerb(pushVerb, argv, context),
  soak: (argv, context) => runVerb(soakVerb, argv, context),
  compare: (argv, context) => runVerb(compareVerb, argv, context),
};
