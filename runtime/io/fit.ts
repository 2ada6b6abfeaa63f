import type { Manifest } from '../../models/bundle/schema/manifest.ts';
import type { GatewayConfiguration } from './configuration.ts';

/** Relative difference of two rates that are taken for the same. */
const RATE_TOLERANCE = 0.01;

/** The foreign sources that the bundle cannot read, in words; what sends frames says for itself what it is when it comes. */
export function misfits({ foreign }: Pick<GatewayConfiguration, 'foreign'>, { recipe }: Pick<Manifest, 'recipe'>): string[] {
  return foreign.flatMap(({ stream, format }) => {
    const { channels, sampleRateHz } = format;
    const wanted = recipe.channels.length;
    return [
      ...(channels === wanted ? [] : [`${stream} has ${channels} channels, the bundle reads ${wanted} (${recipe.channels.join(', ')})`]),
      ...(Math.abs(sampleRateHz / recipe.sampleRateHz - 1) <= RATE_TOLERANCE
        ? []
        : [`${stream} has ${sampleRateHz} Hz, the bundle reads ${recipe.sampleRateHz} Hz`]),
    ];
  });
}
