#ifndef APUS_CSWAGGER_H
#define APUS_CSWAGGER_H

#include <stddef.h>
#include <stdint.h>

// Swagger UI's files as constants of the program. Each function says how many bytes there are and where; NULL and 0 when
// the file was not in .assets/swagger at the time of the build (scripts/stage-swagger puts it there).

const uint8_t *apus_swagger_bundle(size_t *count);
const uint8_t *apus_swagger_style(size_t *count);
const uint8_t *apus_swagger_icon(size_t *count);

#endif
