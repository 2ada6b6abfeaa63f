/** What the defect frequencies of a rolling-element bearing follow from. */
export interface BearingGeometry {
  readonly name: string;
  readonly rollers: number;
  readonly rollerDiameterMm: number;
  readonly pitchDiameterMm: number;
  readonly contactAngleDeg: number;
}

/** How often a defect is struck or the cage turns, per revolution of the shaft. */
export interface BearingOrders {
  /** Ball pass, outer race (BPFO). */
  readonly outer: number;
  /** Ball pass, inner race (BPFI). */
  readonly inner: number;
  /** Ball spin (BSF): a spot on a ball strikes a race twice in each spin. */
  readonly spin: number;
  /** Fundamental train, the cage (FTF). */
  readonly cage: number;
}

/**
 * Kinematic orders with the outer ring at rest and pure rolling (Randall and Antoni 2011, "Rolling element bearing diagnostics: a tutorial").
 *
 * Wrong when rollers slip: real bearings run 1 to 2 % off, which `MachineSimulator` adds.
 */
export function bearingOrders(bearing: BearingGeometry): BearingOrders {
  const { rollers, rollerDiameterMm, pitchDiameterMm, contactAngleDeg } = bearing;
  const ratio = (rollerDiameterMm / pitchDiameterMm) * Math.cos((contactAngleDeg * Math.PI) / 180);
  return {
    outer: (rollers / 2) * (1 - ratio),
    inner: (rollers / 2) * (1 + ratio),
    spin: (pitchDiameterMm / (2 * rollerDiameterMm)) * (1 - ratio * ratio),
    cage: (1 - ratio) / 2,
  };
}

/** Small deep-groove ball bearings, as fitted to motors of a few kilowatts. `createMachine` draws from these. */
export const BEARINGS: readonly BearingGeometry[] = [
  {
    name: '6203',
    rollers: 8,
    rollerDiameterMm: 6.746,
    pitchDiameterMm: 28.5,
    contactAngleDeg: 0,
  },
  {
    name: 'UER204',
    rollers: 8,
    rollerDiameterMm: 7.92,
    pitchDiameterMm: 34.55,
    contactAngleDeg: 0,
  },
  {
    name: '6205',
    rollers: 9,
    rollerDiameterMm: 7.94,
    pitchDiameterMm: 39.04,
    contactAngleDeg: 0,
  },
  {
    name: '6206',
    rollers: 9,
    rollerDiameterMm: 9.525,
    pitchDiameterMm: 46,
    contactAngleDeg: 0,
  },
];

/** Bearings of another make, for a machine after an overhaul: none of `BEARINGS` has its orders. */
export const REPLACEMENT_BEARINGS: readonly BearingGeometry[] = [
  {
    name: 'ZA-2115',
    rollers: 16,
    rollerDiameterMm: 8.4,
    pitchDiameterMm: 71.5,
    contactAngleDeg: 15.17,
  },
  {
    name: 'PRONOSTIA',
    rollers: 13,
    rollerDiameterMm: 3.5,
    pitchDiameterMm: 25.6,
    contactAngleDeg: 0,
  },
];
