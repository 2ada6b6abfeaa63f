/** Version of the package; put in by the build. */
declare const TREMOLO_VERSION: string;

/** `0.0.0` where the sources run without a build, as in tests. */
export const VERSION: string = typeof TREMOLO_VERSION === 'undefined' ? '0.0.0' : TREMOLO_VERSION;
