/** Files take whole blocks of the disk: ext4, XFS and APFS have blocks of 4 KiB. */
export const blockBytes = 4096;

/** What part of a store takes of the disk. */
export interface DiskUse {
  /** In whole blocks. */
  readonly bytes: number;
  /** Files and folders: each takes an inode. */
  readonly files: number;
}

/** What a file of `size` bytes takes of the disk. */
export function bytesOnDisk(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes;
}
