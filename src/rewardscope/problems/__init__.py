"""Problems and answers: data sets, prompts, steps, grading."""
