/* mcculloch-pitts: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef MCCULLOCH_PITTS_H
#define MCCULLOCH_PITTS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    mcculloch_pitts_size_x = 8,
    mcculloch_pitts_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    char unused; /* the model has no state */
} mcculloch_pitts_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} mcculloch_pitts_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} mcculloch_pitts_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} mcculloch_pitts_events;

/* The contract of the model, as JSON. */
extern const char mcculloch_pitts_contract[];

/* Set the state before the first step. */
void mcculloch_pitts_initial_state(mcculloch_pitts_state *state);

/* Run one step of one row. */
void mcculloch_pitts_step(mcculloch_pitts_state *state, const mcculloch_pitts_inputs *inputs, const mcculloch_pitts_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void mcculloch_pitts_run(mcculloch_pitts_state *states, int32_t rows, int32_t steps, const mcculloch_pitts_inputs *inputs, const mcculloch_pitts_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int mcculloch_pitts_step_events(mcculloch_pitts_state *state, const mcculloch_pitts_events *events, const mcculloch_pitts_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t mcculloch_pitts_state_size(void);

#ifdef __cplusplus
}
#endif

#endif
