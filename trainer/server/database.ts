/** A value that both databases keep the same way. */
export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, SqlValue>>;

/** Statements with `?` for their values, in the SQL that SQLite and Postgres share. */
export interface Queries {
  /** Rows of a query, or of a change with RETURNING. */
  all(sql: string, ...values: SqlValue[]): Promise<Row[]>;
}

/**
 * One database, for several processes at a time. What a promise of a change is kept for is on disk when it resolves.
 *
 * Two implementations: a file (SQLite, one machine) and Postgres (several).
 */
export interface Database extends Queries {
  /** Which of the two, for a log. */
  readonly name: 'sqlite' | 'postgres';
  /** Does `work` wholly or not at all, as if nobody else did anything meanwhile. `work` may be called again where somebody did. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
  /** Milliseconds since 1970 by the one clock that all processes of this database go by. */
  nowMs(): Promise<number>;
  close(): Promise<void>;
}
