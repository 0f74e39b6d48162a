/** A file takes whole blocks of the disk: 4 KiB each on ext4, XFS and APFS. */
export const blockBytes = 4096;

/** How much of the disk a part of a store uses. */
export interface DiskUse {
  /** In whole blocks. */
  readonly bytes: number;
  /** Files and folders: each takes an inode. */
  readonly files: number;
}

/** How many bytes of the disk a file of `size` bytes uses. */
export function bytesOnDisk(size: number): number {
  return Math.ceil(size / blockBytes) * blockBytes;
}
