/* adaptive-lif: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef ADAPTIVE_LIF_H
#define ADAPTIVE_LIF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    adaptive_lif_size_x = 8,
    adaptive_lif_size_v = 8,
    adaptive_lif_size_theta = 8,
    adaptive_lif_size_refrac_count = 8,
    adaptive_lif_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float v[8]; /* v */
    float theta[8]; /* theta */
    float refrac_count[8]; /* refrac_count */
    struct {
        uint8_t fired[8];
    } work;
} adaptive_lif_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} adaptive_lif_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} adaptive_lif_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} adaptive_lif_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *v;
    float *theta;
    float *refrac_count;
} adaptive_lif_state_arrays;

/* The contract of the model, as JSON. */
extern const char adaptive_lif_contract[];

/* Set the state before the first step. */
void adaptive_lif_initial_state(adaptive_lif_state *state);

/* Run one step of one row. */
void adaptive_lif_step(adaptive_lif_state *state, const adaptive_lif_inputs *inputs, const adaptive_lif_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void adaptive_lif_run(adaptive_lif_state *states, int32_t rows, int32_t steps, const adaptive_lif_inputs *inputs, const adaptive_lif_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int adaptive_lif_step_events(adaptive_lif_state *state, const adaptive_lif_events *events, const adaptive_lif_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t adaptive_lif_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void adaptive_lif_store_state(const adaptive_lif_state *states, int32_t rows, const adaptive_lif_state_arrays *to);
int adaptive_lif_load_state(adaptive_lif_state *states, int32_t rows, const adaptive_lif_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
