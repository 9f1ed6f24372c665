#include "CSwagger.h"

// Embedded rather than read at run time, so that the program shows its pages wherever it is started from. A fresh clone
// builds without the files: __has_embed is 0 then, and the functions say that there are none. scripts/stage-swagger
// touches this file when it puts them in place, since the compiler cannot know to come back for files it did not find.

#define APUS_NOTHING { *count = 0; return NULL; }

#if defined(__has_embed) && __has_embed("../../.assets/swagger/swagger-ui-bundle.js") == 1
static const uint8_t bundle[] = {
#embed "../../.assets/swagger/swagger-ui-bundle.js"
};
const uint8_t *apus_swagger_bundle(size_t *count) { *count = sizeof bundle; return bundle; }
#else
const uint8_t *apus_swagger_bundle(size_t *count) APUS_NOTHING
#endif

#if defined(__has_embed) && __has_embed("../../.assets/swagger/swagger-ui.css") == 1
static const uint8_t style[] = {
#embed "../../.assets/swagger/swagger-ui.css"
};
const uint8_t *apus_swagger_style(size_t *count) { *count = sizeof style; return style; }
#else
const uint8_t *apus_swagger_style(size_t *count) APUS_NOTHING
#endif

#if defined(__has_embed) && __has_embed("../../.assets/swagger/favicon-32x32.png") == 1
static const uint8_t icon[] = {
#embed "../../.assets/swagger/favicon-32x32.png"
};
const uint8_t *apus_swagger_icon(size_t *count) { *count = sizeof icon; return icon; }
#else
const uint8_t *apus_swagger_icon(size_t *count) APUS_NOTHING
#endif
