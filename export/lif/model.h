/* lif: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef LIF_H
#define LIF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    lif_size_x = 8,
    lif_size_v = 8,
    lif_size_refrac_count = 8,
    lif_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float v[8]; /* v */
    float refrac_count[8]; /* refrac_count */
} lif_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} lif_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} lif_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} lif_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *v;
    float *refrac_count;
} lif_state_arrays;

/* The contract of the model, as JSON. */
extern const char lif_contract[];

/* Set the state before the first step. */
void lif_initial_state(lif_state *state);

/* Run one step of one row. */
void lif_step(lif_state *state, const lif_inputs *inputs, const lif_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void lif_run(lif_state *states, int32_t rows, int32_t steps, const lif_inputs *inputs, const lif_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int lif_step_events(lif_state *state, const lif_events *events, const lif_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t lif_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void lif_store_state(const lif_state *states, int32_t rows, const lif_state_arrays *to);
int lif_load_state(lif_state *states, int32_t rows, const lif_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
