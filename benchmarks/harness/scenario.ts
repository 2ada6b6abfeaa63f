/** What a figure must not exceed, or must at least be. */
export type Target = { readonly atMost: number } | { readonly atLeast: number };

/** What a scenario found. */
export interface Measured {
  readonly figure: number;
  /** How many numbers stand behind the figure: rounds of a timing, elements of a comparison. */
  readonly samples: number;
  /** What else was seen on the way, in reading order: absolute milliseconds, spread, versions. */
  readonly details: Readonly<Record<string, string | number>>;
}

/** A scenario that cannot run here says why. */
export interface Skipped {
  readonly skipped: string;
}

export interface Context {
  /** A tenth of the time: to see that everything runs, not for figures to keep. */
  readonly quick: boolean;
  /** Whether peers may be installed from the package index into a temporary folder. */
  readonly peers: boolean;
  /** The package's root folder, with a closing slash. */
  readonly root: string;
  /** One line of what is going on, for people. */
  progress(line: string): void;
}

/** One comparison. Its id is permanent: results of years are compared by it. */
export interface Scenario {
  readonly id: string;
  readonly what: string;
  readonly unit: string;
  /** From the issue that asked for it; none where the figure is only reported. */
  readonly target?: Target;
  measure(context: Context): Promise<Measured | Skipped>;
}

/** A scenario with its outcome, as printed and as kept in results/. */
export interface Row {
  readonly id: string;
  readonly what: string;
  readonly unit: string;
  readonly target?: Target;
  readonly figure?: number;
  readonly samples?: number;
  readonly reached?: boolean;
  readonly details?: Readonly<Record<string, string | number>>;
  readonly skipped?: string;
  readonly failed?: string;
}

export function isReached(figure: number, target: Target): boolean {
  return 'atMost' in target ? figure <= target.atMost : figure >= target.atLeast;
}

/** The ids that patterns choose, in the order of `ids`: an id itself, else a family before a dot, or `*` for anything. */
export function choose(patterns: readonly string[], ids: readonly string[]): string[] {
  const tests = patterns.map((pattern) => {
    if (ids.includes(pattern)) return (id: string) => id === pattern;
    if (!pattern.includes('*')) return (id: string) => id.startsWith(`${pattern}.`);
    const escaped = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    const expression = new RegExp(`^${escaped.join('.*')}$`);
    return (id: string) => expression.test(id);
  });
  return ids.filter((id) => tests.some((test) => test(id)));
}

export async function runScenario(scenario: Scenario, context: Context): Promise<Row> {
  const { id, what, unit, target } = scenario;
  try {
    const outcome = await scenario.measure(context);
    if ('skipped' in outcome) return { id, what, unit, target, skipped: outcome.skipped };
    return { id, what, unit, target, ...outcome, ...(target && { reached: isReached(outcome.figure, target) }) };
  } catch (error) {
    return { id, what, unit, target, failed: (error as Error).message };
  }
}
