import { CodedRefusal } from '../models/checks/refusal.ts';

/** Bad input or wrong usage: one line that says what, where and what to do. The command prints it and exits with 2. */
export class Refusal extends CodedRefusal {}

/** A program that was run for a verb has failed, and has said why: nothing is left to print for people. */
export class SaidWhy extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`it ended with ${exitCode}, and said why on stderr`);
    this.exitCode = exitCode;
  }
}
