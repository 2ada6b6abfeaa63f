import type { z } from 'zod';

/** Of the Encoding standard, which Node and browsers share. */
declare const TextDecoder: new () => { decode(bytes: Uint8Array): string };

/** The message that a payload holds as JSON; undefined where it is no JSON, or not of the schema. */
export function parsePayload<T extends z.ZodType>(payload: Uint8Array, schema: T): z.output<T> | undefined {
  let message: unknown;
  try {
    message = JSON.parse(new TextDecoder().decode(payload));
  } catch {
    return undefined;
  }
  return schema.safeParse(message).data;
}
