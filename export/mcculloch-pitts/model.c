/* mcculloch-pitts: one step of 1 ms. Written by deploy-snn 0.2.0.
   Compile it with -ffp-contract=off and without -ffast-math, and the results are those of torch, to the bit. */
#include "model.h"

#if defined(__GNUC__) && !defined(__clang__)
/* Otherwise gcc puts branches into the loops over neurons, and gathers into those over weights. */
#pragma GCC optimize ("no-thread-jumps", "no-loop-unroll-and-jam")
#endif

#include <string.h>

static const float thresh = 1.0f;

/* One step of one row. */
static void mcculloch_pitts_row(mcculloch_pitts_state *restrict state, const float *restrict x, uint8_t *restrict s)
{
    (void)state;
    (void)x;
    for (int32_t i = 0; i < 8; i++) {
        s[i] = (uint8_t)(x[i] >= thresh);
    }
}

void mcculloch_pitts_initial_state(mcculloch_pitts_state *state)
{
    (void)state;
}

void mcculloch_pitts_step(mcculloch_pitts_state *state, const mcculloch_pitts_inputs *inputs, const mcculloch_pitts_outputs *outputs)
{
    mcculloch_pitts_row(state, inputs->x, outputs->s);
}

void mcculloch_pitts_run(mcculloch_pitts_state *states, int32_t rows, int32_t steps, const mcculloch_pitts_inputs *inputs, const mcculloch_pitts_outputs *outputs)
{
    size_t at = 0;
    for (int32_t t = 0; t < steps; t++) {
        for (int32_t r = 0; r < rows; r++) {
            mcculloch_pitts_row(&states[r], inputs->x + at * 8, outputs->s + at * 8);
            at++;
        }
    }
}

int mcculloch_pitts_step_events(mcculloch_pitts_state *state, const mcculloch_pitts_events *events, const mcculloch_pitts_outputs *outputs)
{
    mcculloch_pitts_inputs inputs;
    for (int32_t i = 0; i < events->x_count; i++) {
        if (events->x[i] < 0 || events->x[i] >= 8) {
            return -1;
        }
    }
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 1.0f;
    }
    inputs.x = events->x_dense;
    mcculloch_pitts_step(state, &inputs, outputs);
    for (int32_t i = 0; i < events->x_count; i++) {
        events->x_dense[events->x[i]] = 0.0f;
    }
    return 0;
}

size_t mcculloch_pitts_state_size(void)
{
    return sizeof(mcculloch_pitts_state);
}

/* The contract, as JSON in ASCII. */
const char mcculloch_pitts_contract[] = {
    123, 34, 99, 111, 110, 116, 114, 97, 99, 116, 95, 118, 101, 114, 115, 105, 111, 110, 34, 58, 50, 44, 34, 100,
    116, 34, 58, 49, 46, 48, 44, 34, 116, 101, 110, 115, 111, 114, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101,
    34, 58, 34, 120, 34, 44, 34, 114, 111, 108, 101, 34, 58, 34, 100, 114, 105, 118, 101, 34, 44, 34, 107, 105,
    110, 100, 34, 58, 110, 117, 108, 108, 44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 102, 108, 111, 97, 116, 51,
    50, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91, 123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99,
    104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110, 117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58,
    34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115, 105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110,
    101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105, 116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105,
    116, 34, 58, 34, 109, 86, 34, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 115, 34, 44, 34, 114, 111,
    108, 101, 34, 58, 34, 115, 112, 105, 107, 101, 115, 34, 44, 34, 107, 105, 110, 100, 34, 58, 110, 117, 108, 108,
    44, 34, 100, 116, 121, 112, 101, 34, 58, 34, 98, 111, 111, 108, 34, 44, 34, 97, 120, 101, 115, 34, 58, 91,
    123, 34, 110, 97, 109, 101, 34, 58, 34, 98, 97, 116, 99, 104, 34, 44, 34, 115, 105, 122, 101, 34, 58, 110,
    117, 108, 108, 125, 44, 123, 34, 110, 97, 109, 101, 34, 58, 34, 110, 101, 117, 114, 111, 110, 34, 44, 34, 115,
    105, 122, 101, 34, 58, 56, 125, 93, 44, 34, 111, 119, 110, 101, 114, 34, 58, 34, 34, 44, 34, 105, 110, 105,
    116, 105, 97, 108, 34, 58, 34, 34, 44, 34, 117, 110, 105, 116, 34, 58, 34, 34, 125, 93, 44, 34, 114, 111,
    117, 110, 100, 105, 110, 103, 34, 58, 91, 93, 125,
    0,
};
