/** Version of the package, and when it was built, milliseconds since 1970; put in by the build. */
declare const TREMOLO_VERSION: string;
declare const TREMOLO_BUILT_MS: number;

/** `0.0.0` where the sources run without a build, as in tests. */
export const VERSION: string = typeof TREMOLO_VERSION === 'undefined' ? '0.0.0' : TREMOLO_VERSION;

/** A time that is past for certain, for gateways without a clock; 0 where the sources run without a build. */
export const BUILT_MS: number = typeof TREMOLO_BUILT_MS === 'undefined' ? 0 : TREMOLO_BUILT_MS;
