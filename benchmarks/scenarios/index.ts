import type { Scenario } from '../harness/scenario.ts';
import { ADAPT_GATEWAY } from './adapt-gateway.ts';
import { ADAPTER_BANK } from './adapter-bank.ts';
import { AGREEMENT } from './agreement.ts';
import { ARM_DECISIONS } from './arm-decisions.ts';
import { ARM_INSTRUCTIONS } from './arm-instructions.ts';
import { BUNDLE_BYTES } from './bundle-bytes.ts';
import { COST_CURVES } from './cost-curves.ts';
import { DRIFT } from './drift.ts';
import { WEAR } from './drift-wear.ts';
import { FIELD } from './field.ts';
import { INT8_SPEED } from './int8-speed.ts';
import { ISOLATION } from './isolation.ts';
import { PACK_BYTES } from './pack-bytes.ts';
import { PUSH } from './push.ts';
import { SHRINK } from './shrink.ts';
import { STREAMS } from './streams.ts';
import { SWAP_AND_ADAPT } from './swap-and-adapt.ts';
import { TRAIN_PARALLEL } from './train-parallel.ts';
import { TRAIN_PEERS } from './train-peers.ts';
import { TRAIN_STEP } from './train-step.ts';
import { TRAINER_SPLITS } from './trainer-splits.ts';
import { TUNE_TEACHER } from './tune-teacher.ts';

/** Every scenario there is, in the order in which they run and are reported. */
export const SCENARIOS: readonly Scenario[] = [
  ...AGREEMENT,
  ...TRAIN_STEP,
  ...TRAIN_PEERS,
  ...TRAIN_PARALLEL,
  ...INT8_SPEED,
  ...SHRINK,
  ...ISOLATION,
  ...ADAPTER_BANK,
  ...BUNDLE_BYTES,
  ...PACK_BYTES,
  ...TRAINER_SPLITS,
  ...TUNE_TEACHER,
  ...DRIFT,
  ...PUSH,
  ...SWAP_AND_ADAPT,
  ...WEAR,
  ...STREAMS,
  ...COST_CURVES,
  ...FIELD,
  ...ARM_DECISIONS,
  ...ARM_INSTRUCTIONS,
  ...ADAPT_GATEWAY,
];
