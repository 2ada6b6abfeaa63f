import { readBundle, writeBundle } from '../../models/bundle/bundle.ts';
import { beginRollout, type Cargo, usualBudget } from '../../trainer/fleet/deployment.ts';
import type { Repository } from '../../trainer/fleet/repository.ts';

/** Lets one gateway take a bundle, with thresholds that every bundle passes. @returns the deployment's name */
export async function rollOut(repository: Repository, cargo: Cargo, gateway: string, shadowWindows: number): Promise<string> {
  const thresholds = { shadowSeconds: 10, agreement: 0, latencyMs: 10_000, alarmShareChange: 1, memoryBytes: 2 ** 32 };
  const plan = {
    groups: [[gateway]],
    rules: { success: 1, error: 0, silentAfterMs: 600_000, settleMs: 0 },
    thresholds: { ...thresholds, shadowWindows },
    budgetBytes: usualBudget(cargo),
    platforms: [],
  };
  return (await beginRollout(repository, cargo, plan, new Date())).deployment;
}

/** The same bundle under another name, so that it has another digest. @returns its folder */
export async function renamedBundle(source: string, folder: string, name: string): Promise<string> {
  const { manifest, files } = await readBundle(source);
  const { parts: _parts, base: _base, ...description } = manifest;
  await writeBundle(folder, { ...description, name }, { core: files });
  return folder;
}
