/**
 * The combination of levels with the highest sum of scores that was not visited before.
 *
 * Does: best-first search from every parameter's best level; it looks at no more combinations than were visited and their neighbours, however large
 * the space. Is wrong when parameters interact: the sum of scores is the model of an estimator that takes each parameter by itself.
 *
 * @param scores of every level, an array for each parameter
 * @param visited keys, as `keyOf` makes them
 * @returns a level for each parameter; undefined where all combinations were visited
 * @example bestUnvisited([[1, 3], [5, 4]], new Set(['1,0'])) // [1, 1]
 */
export function bestUnvisited(scores: readonly (readonly number[])[], visited: ReadonlySet<string>): number[] | undefined {
  // For each parameter its levels, the best first; a rank is a place in that list.
  const ranked = scores.map((one) => one.map((_, level) => level).sort((a, b) => one[b] - one[a] || a - b));
  const levelsAt = (ranks: readonly number[]) => ranks.map((rank, index) => ranked[index][rank]);
  const sumAt = (ranks: readonly number[]) => ranks.reduce((sum, rank, index) => sum + scores[index][ranked[index][rank]], 0);
  const start = scores.map(() => 0);
  const frontier = [{ ranks: start, sum: sumAt(start) }];
  const seen = new Set([start.join()]);
  while (frontier.length > 0) {
    let best = 0;
    for (let index = 1; index < frontier.length; index++) if (frontier[index].sum > frontier[best].sum) best = index;
    const [{ ranks }] = frontier.splice(best, 1);
    const levels = levelsAt(ranks);
    if (!visited.has(keyOf(levels))) return levels;
    for (let index = 0; index < ranks.length; index++) {
      if (ranks[index] + 1 === ranked[index].length) continue;
      const next = ranks.with(index, ranks[index] + 1);
      if (seen.has(next.join())) continue;
      seen.add(next.join());
      frontier.push({ ranks: next, sum: sumAt(next) });
    }
  }
  return undefined;
}

/** What tells one combination of levels from another. */
export function keyOf(levels: readonly number[]): string {
  return levels.join();
}
