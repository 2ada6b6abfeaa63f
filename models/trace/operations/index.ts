import type { Operation } from '../operation.ts';
import { COMPOSITE } from './composite.ts';
import { ELEMENTWISE } from './elementwise.ts';
import { LINEAR } from './linear.ts';
import { QUANTIZED } from './quantized.ts';
import { SHAPE } from './shape.ts';

/** The op table: every operation that a network, its gradient or the int8 pass may use. A new operation is one row. */
export const OPERATIONS: readonly Operation[] = [...ELEMENTWISE, ...SHAPE, ...LINEAR, ...COMPOSITE, ...QUANTIZED];
