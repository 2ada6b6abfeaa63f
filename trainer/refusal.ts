import { CodedRefusal } from '../models/checks/refusal.ts';

/** Bad input or wrong usage: one line that says what, where and what to do. The command prints it and exits with 2. */
export class Refusal extends CodedRefusal {}
