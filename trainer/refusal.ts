/** Bad input or wrong usage: one line that says what, where and what to do. The command prints it and exits with 2. */
export class Refusal extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Refusal';
    this.code = code;
  }
}
