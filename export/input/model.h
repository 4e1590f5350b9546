/* input: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef INPUT_H
#define INPUT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    input_size_x = 8,
    input_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    char unused; /* the model has no state */
} input_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} input_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} input_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} input_events;

/* The contract of the model, as JSON. */
extern const char input_contract[];

/* Set the state before the first step. */
void input_initial_state(input_state *state);

/* Run one step of one row. */
void input_step(input_state *state, const input_inputs *inputs, const input_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void input_run(input_state *states, int32_t rows, int32_t steps, const input_inputs *inputs, const input_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int input_step_events(input_state *state, const input_events *events, const input_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t input_state_size(void);

#ifdef __cplusplus
}
#endif

#endif
