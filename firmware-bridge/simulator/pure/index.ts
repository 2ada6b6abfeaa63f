/** A machine in software and the data sets made from it, without I/O. See ../README.md. */
export * from './bearing.ts';
export { CONDITIONS, type Condition, type PerCondition } from './conditions.ts';
export * from './machine.ts';
export { DEFAULT_PROFILE, type OperationProfile, SAMPLE_RATE_HZ } from './operation.ts';
export * from './plant.ts';
export { Random } from './random.ts';
export { FULL_SCALE_G } from './sensor.ts';
export { SENSOR_FAULTS, type SensorFaultKind } from './sensor-fault.ts';
export { MachineSimulator, type MachineSimulatorOptions } from './simulator.ts';
