// Options of directories that a host follows. Not here: the host, which is in index.d.ts.

import { AnnouncePriority } from './constants';

/** Options of a host that follows a directory from its start on. */
export interface HostWatchOptions {
  /** Follow what changes in `directory`: new files are shared, removed ones withdrawn. Default false. */
  enableWatcher?: boolean;
  /** Directory whose files are shared at start and followed from then on. Default: `directory` with `enableWatcher`. */
  watchDir?: string | URL;
  /** Follow subdirectories too. Default true. */
  watchRecursive?: boolean;
  /** Of the followed directory share only files with one of these extensions. Default empty: all. */
  watchIncludeExtensions?: string[];
  /** Of the followed directory share no file with one of these extensions. */
  watchExcludeExtensions?: string[];
  /** Of the followed directory share no larger file, in bytes. Default 0: no limit. */
  watchMaxFileSize?: number;
  /** How widely the files of the followed directory are announced: `high`: everywhere, `medium`: local network, hash table
   * and connected peers, `low`: only the local network. Default `high`. */
  watchAnnouncePriority?: AnnouncePriority | 'high' | 'medium' | 'low';
  /** Keep the hashes of shared files with the other state, so that a restart need not hash them again. Default true. */
  watchPersistHashes?: boolean;
}

/** Options of sharing a directory and following what changes in it. */
export interface WatchOptions {
  /** Subdirectories too. Default true. */
  recursive?: boolean;
  /** Share only files with one of these extensions, in upper or lower case. Default empty: all. */
  includeExtensions?: string[];
  /** Share no file with one of these extensions. */
  excludeExtensions?: string[];
  /** Share no larger file, in bytes. Default 0: no limit. */
  maxFileSize?: number;
  /** How widely the files are announced. Default `high`. */
  priority?: AnnouncePriority | 'high' | 'medium' | 'low';
  /** Another name of `priority`. */
  announceLevel?: AnnouncePriority | 'high' | 'medium' | 'low';
  /** Another name of `priority`. */
  watchAnnouncePriority?: AnnouncePriority | 'high' | 'medium' | 'low';
  /** Share a file when nothing was written to it for so long, in ms. Default 2000. */
  stabilityThreshold?: number;
  /** Look through the directory at this interval, in ms, instead of asking the operating system. Default 0: ask it. */
  pollInterval?: number;
  /** Another name of `recursive`. */
  watchRecursive?: boolean;
  /** Another name of `includeExtensions`. */
  watchIncludeExtensions?: string[];
  /** Another name of `excludeExtensions`. */
  watchExcludeExtensions?: string[];
  /** Another name of `maxFileSize`. */
  watchMaxFileSize?: number;
}
