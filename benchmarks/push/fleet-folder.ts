import { join } from 'node:path';
import { createRepository } from '../../trainer/fleet/authority.ts';
import type { Repository } from '../../trainer/fleet/repository.ts';

/** A new repository for one site, with a key for each role, and the file that its gateways are installed with. */
export interface FleetFolder {
  readonly folder: string;
  readonly repository: Repository;
  readonly root: string;
}

/** @param place where its folder is made */
export async function createFleet(place: string, site: string): Promise<FleetFolder> {
  const folder = join(place, 'fleet');
  const repository = await createRepository(folder, { folder: join(folder, 'keys'), keys: 1, threshold: 1 }, [site], new Date());
  return { folder, repository, root: join(folder, '1.root.json') };
}
