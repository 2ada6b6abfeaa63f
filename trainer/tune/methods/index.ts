import type { MethodName, TuneMethod } from '../method.ts';
import { full } from './full.ts';
import { head } from './head.ts';
import { lora } from './lora.ts';
import { prefix } from './prefix.ts';
import { prototypes } from './prototypes.ts';
import { statistics } from './statistics.ts';

/** Every method, by name. */
export const METHODS: Readonly<Record<MethodName, TuneMethod>> = { statistics, prototypes, head, lora, prefix, full };
