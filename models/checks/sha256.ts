import * as z from 'zod';

/** Whether a text is a SHA-256 as all files and messages write it. */
export function isSha256(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

export const sha256Schema = z.string().refine(isSha256, 'is not a SHA-256 in lower-case hexadecimal');
