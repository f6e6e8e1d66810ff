/** The simulated disk keeps the contract of a block device, and fails as told. */
import { SeededRandom } from '../../src/base/random.ts';
import { MIB } from '../../src/base/units.ts';
import { runBlockDeviceContract } from '../contract/block-device.ts';
import { SimulatedDisk } from '../simulation/simulated-device.ts';

runBlockDeviceContract('simulated device', async () => {
  const disk = new SimulatedDisk({ capacityBytes: 8 * MIB, random: new SeededRandom(7) });
  return { open: async (access) => disk.open(access), dispose: async () => {} };
});
