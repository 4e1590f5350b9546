/* diehl-and-cook: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef DIEHL_AND_COOK_H
#define DIEHL_AND_COOK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    diehl_and_cook_size_x = 8,
    diehl_and_cook_size_noise = 8,
    diehl_and_cook_size_v = 8,
    diehl_and_cook_size_theta = 8,
    diehl_and_cook_size_refrac_count = 8,
    diehl_and_cook_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float v[8]; /* v */
    float theta[8]; /* theta */
    float refrac_count[8]; /* refrac_count */
    struct {
        float chosen[8];
        uint8_t fired[8];
    } work;
} diehl_and_cook_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
    const float *noise; /* noise */
} diehl_and_cook_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} diehl_and_cook_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
    const float *noise;
} diehl_and_cook_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *v;
    float *theta;
    float *refrac_count;
} diehl_and_cook_state_arrays;

/* The contract of the model, as JSON. */
extern const char diehl_and_cook_contract[];

/* Set the state before the first step. */
void diehl_and_cook_initial_state(diehl_and_cook_state *state);

/* Run one step of one row. */
void diehl_and_cook_step(diehl_and_cook_state *state, const diehl_and_cook_inputs *inputs, const diehl_and_cook_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void diehl_and_cook_run(diehl_and_cook_state *states, int32_t rows, int32_t steps, const diehl_and_cook_inputs *inputs, const diehl_and_cook_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int diehl_and_cook_step_events(diehl_and_cook_state *state, const diehl_and_cook_events *events, const diehl_and_cook_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t diehl_and_cook_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void diehl_and_cook_store_state(const diehl_and_cook_state *states, int32_t rows, const diehl_and_cook_state_arrays *to);
int diehl_and_cook_load_state(diehl_and_cook_state *states, int32_t rows, const diehl_and_cook_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
