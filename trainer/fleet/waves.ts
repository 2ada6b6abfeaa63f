import { Refusal } from '../refusal.ts';

/**
 * Groups of a rollout: `1,10%,100%` is one gateway, then a tenth of all with it, then all. Shares are rounded up; a wave that adds nobody is a group of
 * nobody, which succeeds at once.
 *
 * @throws Refusal usage/waves
 */
export function groupsOf(waves: string, gateways: readonly string[]): string[][] {
  const groups: string[][] = [];
  let reached = 0;
  for (const word of waves.split(',')) {
    const [, number, percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(word.trim()) ?? [];
    const value = Number(number);
    if (number === undefined || value <= 0 || (percent ? value > 100 : !Number.isInteger(value)))
      throw new Refusal('usage/waves', `--waves has "${word}"; write numbers of gateways or shares of all, such as 1,10%,100%`);
    // 10 % of 10 gateways is 1, whatever binary fractions say.
    const upTo = Math.min(gateways.length, percent ? Math.ceil((value * gateways.length) / 100 - 1e-9) : value);
    if (upTo < reached)
      throw new Refusal('usage/waves', `--waves ${waves} goes back: ${word} of ${gateways.length} is less than the wave before`);
    groups.push(gateways.slice(reached, upTo));
    reached = upTo;
  }
  if (reached < gateways.length)
    throw new Refusal(
      'usage/waves',
      `--waves ${waves} reaches ${reached} of ${gateways.length} gateways; end with 100%, or choose fewer with --to`,
    );
  return groups;
}
