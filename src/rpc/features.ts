/** FEATURE_CHECK: whether a client may use what not every kernel has. What this criu does not do yet counts as missing. */

import { CriuError } from '../base/errors.ts';
import { ask } from '../check/check.ts';
import { FEATURES } from '../check/features.ts';
import { type CriuReq, CriuReqType, type CriuResp } from '../image/gen/rpc.ts';
import type { FeatureName } from '../options/feature-names.ts';
import { OPTION_TABLE } from '../options/option-table.ts';

/** Only what was asked for may be true. Throws CriuError when nothing was. */
export function answerFeatures({ features }: CriuReq): CriuResp {
  if (features === undefined) throw new CriuError({ action: 'the request names no features' });
  return {
    type: CriuReqType.FEATURE_CHECK,
    success: true,
    features: {
      mem_track: features.mem_track === true && has('track-mem', 'mem_dirty_track'),
      lazy_pages: features.lazy_pages === true && has('lazy-pages', 'uffd-noncoop'),
      // For pre-dumps only: pidfd_store_sk.
      pidfd_store: features.pidfd_store === true && has('track-mem', 'pidfd_store'),
    },
  };
}

/** Whether the option works here and the kernel has the feature. */
function has(long: string, feature: FeatureName): boolean {
  const option = OPTION_TABLE.find((spec) => spec.long === long);
  return option?.capability === 'built' && ask(FEATURES[feature]) === undefined;
}
