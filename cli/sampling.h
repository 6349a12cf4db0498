/* How a chat samples: what the options say, else the file's general.sampling keys, else what suits
 * most models. */
#ifndef SAMPLING_H
#define SAMPLING_H

#include "session.h"

/* The file must be open. Keys that cannot be used or are not known are said. */
struct sampler_params chat_sampling(const struct session *s);

#endif
