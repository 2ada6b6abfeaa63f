/** Bad input that is refused: one line that says what, where and what to do. Codes are permanent; a table beside each class says what they mean. */
export class CodedRefusal<Code extends string = string> extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}
