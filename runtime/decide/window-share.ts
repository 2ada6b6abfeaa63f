/** Picks batches so that a given share of all windows is in them: evenly in time, and exact over many windows whatever the batches. */
export class WindowShare {
  #owed = 0;

  /** @returns whether this batch is to be picked @param share from 0 to 1 */
  due(windows: number, share: number): boolean {
    this.#owed += share * windows;
    // A rounding error must not put off a batch that is due; a whole share is always due.
    if (this.#owed + 1e-9 < windows) return false;
    this.#owed = Math.max(0, this.#owed - windows);
    return true;
  }
}
