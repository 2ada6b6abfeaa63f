import { execFileSync } from 'node:child_process';

/** Builds dist/ once before the first test, so that workers and commands under test are the sources as they are now. */
export default function setup(): void {
  execFileSync(process.execPath, ['.build/build.js'], { stdio: 'inherit' });
}
