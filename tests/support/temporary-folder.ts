import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One folder for all that the tests and their processes put into the system's temporary folder; gone after the last test. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'tremolo-tests-'));
  // A broker that gives its privileges up must still find its certificates.
  chmodSync(folder, 0o755);
  process.env.TMPDIR = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
