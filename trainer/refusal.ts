/** Bad input or wrong usage: one line that says what, where and what to do. The command prints it and exits with 2. */
export class Refusal extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Refusal';
    this.code = code;
  }
}

/** A program that was run for a verb has failed, and has said why: nothing is left to print. */
export class SaidWhy extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`it ended with ${exitCode}`);
    this.exitCode = exitCode;
  }
}
